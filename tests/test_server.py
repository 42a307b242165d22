"""Two servers on one data folder, where the command line finds one of them, and what an idle one has in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import typer

from freehold.cli import plain_serve
from freehold.cli.commands import commands
from freehold.launch import ServerProcess


def address(data: Path) -> str:
    found: str = json.loads((data / "server.json").read_text("utf-8"))["address"]
    return found


def test_a_second_server_leaves_the_note_of_the_first_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ServerProcess(data, arguments=["--upstream=simulator"]) as first:
        with ServerProcess(data, arguments=["--upstream=simulator"]) as second:
            assert second.address != first.address
            assert address(data) == first.address
        assert address(data) == first.address
        first.kill()
        assert address(data) == first.address
        first.start()
        assert address(data) == first.address
    assert not (data / "server.json").exists()


HEAVY = (
    "alembic",
    "anthropic",
    "asyncpg",
    "cryptography",
    "freehold.simulator.upstream",
    "genai_prices",
    "httpx",
    "jsonschema",
    "mcp",
    "numpy",
    "opentelemetry",
    "pydantic",
    "rich",
    "typer",
    "yaml",
)
"""What a server loads when it is needed, and not before: together they were a third of its memory."""
MOST_IDLE_MB = 105
"""About a quarter more than it takes, for other versions of Python and of the libraries."""


def test_an_idle_server_has_loaded_nothing_heavy(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "freehold", "serve", "--port=0", f"--data={tmp_path / 'data'}"]
    command.append("--upstream=http://127.0.0.1:9")
    with ServerProcess(tmp_path / "data", arguments=["--upstream=simulator"]):
        pass  # the first start makes the database, for which it needs more than any later one
    with (tmp_path / "imports").open("w") as told:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, text=True)
    assert process.stdout is not None
    try:
        assert "ready" in process.stdout.readline()
        status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
    finally:
        process.terminate()
        process.communicate(timeout=60)
    lines = (tmp_path / "imports").read_text("utf-8").splitlines()
    loaded = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "freehold.server" in loaded
    assert not loaded & set(HEAVY)
    [resident] = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
    assert resident / 1024 < MOST_IDLE_MB


def test_what_is_read_without_the_command_line_s_library_is_what_that_library_reads() -> None:
    context = typer.main.get_command(commands()).make_context("freehold", ["serve"], resilient_parsing=True)
    [serve] = [one for name, one in context.command.commands.items() if name == "serve"]  # type: ignore[attr-defined]
    declared = {option: one.name for one in serve.params for option in one.opts if option != "--help"}
    assert declared == {**plain_serve.OPTIONS, **plain_serve.SWITCHES}
    read = plain_serve.flags_of
    assert read(["--port", "0", "--data=x", "--tools", "a.py", "--tools=b.py", "--tools-reload"]) == {
        "port": 0,
        "data": "x",
        "tools": ["a.py", "b.py"],
        "tools_reload": True,
    }
    assert read([]) == {}
    for odd in (["--help"], ["--port", "x"], ["--port=70000"], ["--data"], ["--data", "--port"], ["x"], ["--no", "1"]):
        assert read(odd) is None, odd
