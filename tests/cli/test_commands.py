"""The command as a whole: quick to answer, one clear line when the user is wrong."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer

from freehold import __version__, is_compiled
from freehold.cli.commands import commands
from freehold.launch import ServerProcess
from tests.cli.commands import freehold


def run(*arguments: str) -> None:
    """Python in a process of its own, to its end."""
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)


def times(this: Callable[[], None], that: Callable[[], None]) -> float:
    """How many times the processor time that `that` takes, `this` takes. Seconds on a clock would count what else runs
    on this machine; of three turns each the quickest counts, as its caches were the least disturbed.
    """

    def taken_s(work: Callable[[], None]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        work()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    turns = [(taken_s(this), taken_s(that)) for _ in range(3)]
    return min(one for one, _ in turns) / min(other for _, other in turns)


def test_help_costs_little_more_than_the_libraries_that_print_it() -> None:
    libraries = partial(run, "-c", "import typer, typer.rich_utils, rich.console, rich.panel, rich.table")
    assert times(partial(run, "-m", "freehold", "--help"), libraries) <= 4


def test_the_package_is_imported_for_next_to_nothing() -> None:
    assert times(partial(run, "-c", "import freehold"), partial(run, "-c", "pass")) <= 3


def test_a_server_is_ready_soon_after_the_libraries_it_stands_on(tmp_path: Path) -> None:
    libraries = (
        "import alembic.command, asyncio, cryptography.hazmat.primitives.ciphers.aead, genai_prices.data, msgspec, "
        "sqlalchemy.ext.asyncio, starlette.routing, typer.rich_utils, uvicorn, uvloop"
    )

    def started() -> None:
        with ServerProcess(tmp_path / "data", arguments=["--upstream", "simulator"]) as process:
            process.kill()

    assert times(started, partial(run, "-c", libraries)) <= 4


def test_help_loads_no_server_and_no_sdk() -> None:
    code = (
        "import sys, freehold.cli.commands as c; c.commands(); "
        "print([m for m in ('anthropic', 'sqlalchemy', 'uvicorn', 'freehold.app') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_version_is_told() -> None:
    done = freehold("--version")
    built = "compiled" if is_compiled() else "interpreted"
    assert (done.returncode, done.stdout) == (0, f"freehold {__version__}, hot path {built}\n")


def test_every_command_is_named_in_the_help() -> None:
    told = freehold("--help").stdout
    for command in (
        "serve",
        "demo",
        "chat",
        "run",
        "agents",
        "sessions",
        "doctor",
        "config",
        "workspaces",
        "keys",
        "simulate",
        "export",
        "import",
    ):
        assert command in told


_SOMEWHERE = ("--url", "http://127.0.0.1:9", "--key-file", "key")
"""An address at which nobody answers, and a key for it."""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["serve", "--port", "70000"], "--port"),
        (["serve", "--tools", "none.py"], "none.py: there is no such Python file"),
        (["serve", "--upstream", "claude"], "neither ANTHROPIC_API_KEY nor upstream_key is set"),
        (["serve", "--config", "none.toml"], "none.toml"),
        (["demo", "--live"], "export ANTHROPIC_API_KEY"),
        (["keys", "list"], "no server runs on the data folder freehold-data"),
        (["keys", "list", "--url", "127.0.0.1:8788"], "is no address of a server; one looks like http://"),
        (["worker", "--environment", "env_1", "--key-file", "none"], "no key: none cannot be read"),
        (["keys", "list", "--url", "http://127.0.0.1:9", "--key-file", "rows.jsonl"], "characters that no key has"),
        (["import", ".", *_SOMEWHERE], ". cannot be read: Is a directory"),
        (["batch", "run", "rows.jsonl", "--out", "none/out.jsonl", *_SOMEWHERE], "none/out.jsonl"),
        (["nothing"], "No such command 'nothing'"),
    ],
)
def test_a_mistake_is_told_in_one_line_without_a_traceback(tmp_path: Path, arguments: list[str], told: str) -> None:
    (tmp_path / "key").write_text("sk-fh-one\n", "utf-8")
    (tmp_path / "rows.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n', "utf-8")
    done = freehold(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_unknown_setting_stops_the_start_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "freehold.toml").write_text("prot = 8\n", "utf-8")
    from_file = freehold("serve", "--config", "freehold.toml", cwd=tmp_path)
    assert (from_file.returncode, from_file.stderr.count("\n")) == (2, 1)
    assert "there is no setting 'prot'. Did you mean 'port'?" in from_file.stderr
    from_environment = freehold("serve", cwd=tmp_path, environment={"FREEHOLD_PROT": "8"})
    assert "there is no setting 'prot'" in from_environment.stderr


NOT_JSON = {
    "serve": "runs until it is ended",
    "simulate": "runs until it is ended",
    "demo": "a story for people",
    "env shell": "a conversation with a shell",
    "batch run": "its rows go to --out, as JSON lines",
    "worker": "runs until it is ended",
}


def test_every_command_speaks_json_where_a_program_could_read_it() -> None:
    def walk(command: Any, path: tuple[str, ...]) -> Iterator[str]:
        for name, one in getattr(command, "commands", {}).items():
            yield from walk(one, (*path, name))
        if not hasattr(command, "commands") and "--json" not in {o for p in command.params for o in p.opts}:
            yield " ".join(path)

    assert set(walk(typer.main.get_command(commands()), ())) == set(NOT_JSON)
