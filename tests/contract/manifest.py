"""The manifest: every method of the official SDK and every session event, each with the test that proves it. No test,
not "works".

How to prove something: put the decorator on a test anywhere under `tests/`.

    @proves("beta.agents.create", "beta.agents.retrieve")           an `async def` test proves the async client
    def … / @proves("messages.create", clients=("sync", "async"))   a `def` test the sync one; say so if it does both
    @proves("event session.status_idle")                            a session event, seen (or sent) on the wire

then run `python -m tests.contract.manifest`, which takes what is proven now out of `manifest.toml`. That file holds
what has no proof yet: `awaiting` (built or being built; must end up empty) and `not_built` (refused; each group named
after its entry in `docs/reference/differences.toml`; whoever builds one takes that entry out). `test_manifest.py` fails
when a method is in none or in two of the states, when a proof names something that does not exist, or when the SDK has
grown.

Differences from Anthropic's behaviour stand in `docs/reference/differences.toml` and nowhere else. Each names the test
that shows it, and that test carries `@shows_difference("its-id")`; both directions are checked.

A strict client (`inprocess.async_client(…, strict=True)`) raises where an answer lacks what the SDK's type has;
`strict.undeclared(answer)` finds the opposite, what an answer has and the type has not.

Decorators are read from the source, so that no test must run or even import for the manifest to be checked.
"""

from __future__ import annotations

import ast
import functools
import json
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import freehold.wire.contract

T = TypeVar("T", bound=Callable[..., Any])
Client = Literal["sync", "async"]

ROOT = Path(__file__).parents[2]
MANIFEST = Path(__file__).with_name("manifest.toml")
DIFFERENCES = ROOT / "docs" / "reference" / "differences.toml"
_SURFACE = Path(freehold.wire.contract.__file__).parent / "shapes" / "surface.json"
_EVENT = "event "


def proves(*names: str, clients: Iterable[Client] | None = None) -> Callable[[T], T]:
    """Marks a test as the proof of SDK methods (`beta.agents.create`) or session events (`event user.message`)."""
    unknown = [name for name in names if name not in known()]
    if unknown or not names:
        raise ValueError(f"the SDK has no {', '.join(unknown) or 'nameless method'}; see surface.json")
    return lambda test: test


def shows_difference(identity: str) -> Callable[[T], T]:
    """Marks a test as the one that shows a known difference from Anthropic's behaviour."""
    if identity not in differences():
        raise ValueError(f"{identity} is not in {DIFFERENCES.name}")
    return lambda test: test


@dataclass(frozen=True, slots=True)
class Proof:
    """One decorated test."""

    what: str
    test: str
    """`tests/contract/test_agents.py::test_…`"""
    clients: frozenset[str]


@functools.cache
def surface() -> dict[str, Any]:
    """`surface.json`: `methods`, `helpers`, which of them only the async client has, `session_events`."""
    found: dict[str, Any] = json.loads(_SURFACE.read_text())
    return found


@functools.cache
def known() -> frozenset[str]:
    """Everything that can be proven."""
    events = {_EVENT + kind for kinds in surface()["session_events"].values() for kind in kinds}
    return frozenset({*surface()["methods"], *surface()["helpers"], *events})


def differences() -> dict[str, dict[str, Any]]:
    """The registry, by id."""
    return {entry["id"]: entry for entry in tomllib.loads(DIFFERENCES.read_text())["difference"]}


def manifest() -> dict[str, Any]:
    """`manifest.toml`: `awaiting.async`, `awaiting.sync`, `awaiting.events`, and `not_built` by difference."""
    return tomllib.loads(MANIFEST.read_text())


def not_built() -> dict[str, str]:
    """Method or event → id of the difference that says why it is refused."""
    return {name: identity for identity, names in manifest()["not_built"].items() for name in names}


def tests() -> frozenset[str]:
    """Every test function there is."""
    return frozenset(test for test, _ in _functions())


def proofs() -> list[Proof]:
    """Every `@proves`, in order of file."""
    return [
        Proof(ast.literal_eval(name), test, _clients(function, call))
        for test, function in _functions()
        for call in _decorators(function, "proves")
        for name in call.args
    ]


def shown() -> list[tuple[str, str]]:
    """Every `@shows_difference`: id and test."""
    return [
        (ast.literal_eval(call.args[0]), test)
        for test, function in _functions()
        for call in _decorators(function, "shows_difference")
    ]


_Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def _functions() -> list[tuple[str, _Function]]:
    return [
        (f"{path.relative_to(ROOT)}::{node.name}", node)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, _Function) and node.name.startswith("test_")
    ]


def _decorators(function: _Function, name: str) -> Iterator[ast.Call]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == name:
            yield decorator


def _clients(function: _Function, call: ast.Call) -> frozenset[str]:
    said = next((keyword.value for keyword in call.keywords if keyword.arg == "clients"), None)
    if said is not None:
        return frozenset(ast.literal_eval(said))
    return frozenset({"async" if isinstance(function, ast.AsyncFunctionDef) else "sync"})


def awaiting() -> dict[str, list[str]]:
    """What has neither a proof nor an entry as not built, as it should stand in `manifest.toml`."""
    found = proofs()
    left = known() - {name for names in _still_not_built().values() for name in names}
    methods = {name for name in left if not name.startswith(_EVENT)}
    there = {"async": methods, "sync": methods - set(surface()["async_only"])}
    by_client = {
        client: sorted(names - {proof.what for proof in found if client in proof.clients})
        for client, names in there.items()
    }
    return {**by_client, "events": sorted(left - methods - {proof.what for proof in found})}


def _still_not_built() -> dict[str, list[str]]:
    """Without what somebody has proven meanwhile."""
    proven = {proof.what for proof in proofs()}
    return {identity: sorted(set(names) - proven) for identity, names in manifest()["not_built"].items()}


def written() -> str:
    """`manifest.toml` as it should be now."""
    lines = ["# What has no proof yet; the head of manifest.py says how to shrink it. Rewritten by", "#"]
    lines[1:] = ["# `python -m tests.contract.manifest`.", "", "[awaiting]"]
    lines += [_array(client, names) for client, names in awaiting().items()]
    lines += [
        "",
        "# Refused, each group for the reason that its entry in docs/reference/differences.toml gives.",
        "[not_built]",
    ]
    lines += [_array(identity, names) for identity, names in sorted(_still_not_built().items()) if names]
    return "\n".join(lines) + "\n"


def _array(name: str, items: Iterable[str]) -> str:
    inner = "".join(f'\n  "{item}",' for item in items)
    return f"{name} = [{inner}\n]" if inner else f"{name} = []"


if __name__ == "__main__":
    MANIFEST.write_text(written())
    left = awaiting()
    sys.stdout.write(f"{len(proofs())} proofs; awaiting: {', '.join(f'{len(left[k])} {k}' for k in left)}\n")
