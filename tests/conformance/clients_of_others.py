"""Runs each client's script against a server and reads what came of its cases; the page that tells it.

`python -m tests.conformance.clients_of_others` writes `docs/reference/conformance.md` anew.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from freehold.launch import ServerProcess
from tests.conformance import materials
from tests.typescript import sdk_folder

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "conformance.md"
PYTHON = ROOT / ".venv" / "conformance" / "bin" / "python"
SCRIPTS = Path(__file__).with_name("clients")
CLIENTS = {
    "python_sdk": "Anthropic's Python SDK, strict",
    "typescript_sdk": "Anthropic's TypeScript SDK",
    "langchain_client": "LangChain, `ChatAnthropic`",
    "pydantic_ai_client": "Pydantic AI, `AnthropicModel`",
    "instructor_client": "instructor, its Anthropic modes",
}
WANTED = ("messages", "streams", "tools", "thinking", "images", "pdfs", "structured_output", "count_tokens", "errors")
_HEAD = """# Clients that work with Freehold

Each of these ran against a server of this version with the simulator behind it, in every way that the columns name.
The page is compared with a new run by `make test`.

"""


@dataclass(frozen=True)
class Outcome:
    """What came of one client's cases: `ok`, or why not."""

    versions: Mapping[str, str]
    cases: Mapping[str, str]


def outcome_of(client: str, server: ServerProcess, folder: Path) -> Outcome:
    """Run the client's cases."""
    done = subprocess.run(
        _command(client),
        env={**os.environ, "BASE_URL": server.address, "KEY": server.key, "MATERIALS": str(folder)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def page(outcomes: Mapping[str, Outcome]) -> str:
    """The page, as Markdown."""
    lines = [
        f"| client | {' | '.join(name.replace('_', ' ') for name in WANTED)} |",
        f"|---|{'---|' * len(WANTED)}",
    ]
    for client, outcome in outcomes.items():
        versions = ", ".join(f"{name} {version}" for name, version in outcome.versions.items())
        marks = " | ".join(_mark(outcome, name) for name in WANTED)
        lines.append(f"| {CLIENTS[client]} ({versions}) | {marks} |")
    return _HEAD + "\n".join(lines) + "\n\n`–`: the client has no such thing.\n"


def server(folder: Path) -> ServerProcess:
    """The server that they speak to; it leaves retries to them."""
    materials.write(folder)
    arguments = ["--upstream", "simulator"]
    return ServerProcess(folder / "data", arguments=arguments, environment={"FREEHOLD_MAX_RETRIES": "0"})


def _command(client: str) -> list[str]:
    if client != "typescript_sdk":
        return [str(PYTHON), str(SCRIPTS / f"{client}.py")]
    script = sdk_folder() / "conformance.mjs"
    shutil.copyfile(SCRIPTS / f"{client}.mjs", script)
    return ["node", str(script)]


def _mark(outcome: Outcome, name: str) -> str:
    fitting = [found for case, found in outcome.cases.items() if case.removeprefix("async_").endswith(name)]
    return "–" if not fitting else "yes" if set(fitting) == {"ok"} else "no"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, server(Path(place)) as running:
        PAGE.write_text(page({client: outcome_of(client, running, Path(place)) for client in CLIENTS}), "utf-8")
    sys.exit(0)
