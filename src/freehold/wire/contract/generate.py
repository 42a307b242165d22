"""Writes `shapes/`: the contract as data, taken from the official SDK that is installed. Development time only.

    python -m freehold.wire.contract.generate            write
    python -m freehold.wire.contract.generate --check    compare with what is committed; exit 1 and say what differs

`requests.json` holds the shape of every JSON body (`shaping` says how to read it), `surface.json` every method of the
SDK with its route, and the types of session events.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from freehold.wire.contract import shaping, surface

FOLDER = Path(__file__).parent / "shapes"

# The SDK has dropped these, older SDKs and plain HTTP clients still send them and the API still takes them on older
# models (Claude API docs, page "Create a Message", read 2026-11-23).
_STILL_TAKEN: dict[str, dict[str, str]] = {
    "messages.create": {"temperature": "number", "top_k": "integer", "top_p": "number"}
}

# The two faces of user profiles are different things, told apart by the beta header: each keeps its own shape.
_OWN_BETA_SHAPE = "beta.user_profiles."

# The params of a batch's requests are judged one by one, later: a bad one becomes an `errored` result (Claude API docs,
# page "Batch processing", read 2026-11-23). Whoever runs them checks each as `messages.create`.
_JUDGED_LATER = {"messages.batches.create": ("requests", "params")}


def requests(methods: Iterable[surface.Method]) -> dict[str, Any]:
    """Operation → shape of its JSON body. An operation is named as in the SDK, without `beta.`; where GA and beta share
    a route, one shape takes both.
    """
    shaper = shaping.Shaper()
    bodies: dict[str, dict[str, Any]] = {}
    for method in methods:
        if method.body and not method.multipart:
            shape = {
                "fields": {key: shaper.of(hint) for key, hint in sorted(method.body.items())},
                "required": sorted(method.required & method.body.keys()),
            }
            bodies[method.name] = shape
    operations = {name: _with_its_beta(shaper, bodies, name) for name in bodies if not _is_beta_face(bodies, name)}
    for name, fields in _STILL_TAKEN.items():
        operations[name]["fields"] |= fields
    for name, (items, late) in _JUDGED_LATER.items():
        item = operations[name]["fields"][items]["list"]
        shaper.objects[item[1:]]["fields"][late] = {"map": "any"}
    operations = {
        name if name.startswith(_OWN_BETA_SHAPE) else _plain(name): operations[name]
        for name in sorted(operations, key=_plain)
    }
    return {"operations": operations, "objects": shaping.reachable(shaper.objects, list(operations.values()))}


def _plain(name: str) -> str:
    return name.removeprefix("beta.")


def _is_beta_face(bodies: dict[str, Any], name: str) -> bool:
    return name.startswith("beta.") and not name.startswith(_OWN_BETA_SHAPE) and _plain(name) in bodies


def _with_its_beta(shaper: shaping.Shaper, bodies: dict[str, Any], name: str) -> dict[str, Any]:
    faces = [face for face in (name, f"beta.{name}") if face == name or _is_beta_face(bodies, face)]
    parts = [bodies[face] for face in faces if face in bodies]
    if len(parts) == 1:
        return dict(parts[0])
    shaper.objects |= {f"{name} GA": parts[0], f"{name} beta": parts[1]}
    return shaper.objects[shaper.merge([f"{name} GA", f"{name} beta"])]


def surface_of(methods: Iterable[surface.Method]) -> dict[str, Any]:
    """Every method with its route, and the session events."""
    return {
        "methods": {
            method.name: {
                **{
                    key: value for key, value in dataclasses.asdict(method).items() if key in ("verb", "path", "answer")
                },
                "body": sorted(method.body),
                "query": sorted(method.query),
                "betas": list(method.betas),
            }
            for method in methods
        },
        "helpers": sorted(surface.HELPERS),
        "async_only": surface.async_only(),
        "session_events": surface.session_event_types(),
    }


def files() -> dict[str, str]:
    """Name → content of every generated file."""
    import anthropic

    methods = surface.methods()
    origin = {"generated_from": f"anthropic {anthropic.__version__}", "by": "python -m freehold.wire.contract.generate"}
    contents = {"requests.json": requests(methods), "surface.json": surface_of(methods)}
    return {name: json.dumps(origin | content, indent=1) + "\n" for name, content in contents.items()}


def drift(folder: Path = FOLDER) -> list[str]:
    """What is written but not what the SDK says now, as lines of a diff; empty: nothing."""
    lines: list[str] = []
    for name, content in files().items():
        path = folder / name
        committed = path.read_text() if path.exists() else ""
        lines += difflib.unified_diff(
            committed.splitlines(), content.splitlines(), name, f"{name} now", n=1, lineterm=""
        )
    return lines


def main(arguments: list[str]) -> int:
    """The command; the exit status."""
    if arguments == ["--check"]:
        lines = drift()
        print("\n".join(lines[:200]) or "The contract is what the SDK says.")
        return 1 if lines else 0
    for name, content in files().items():
        (FOLDER / name).write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
