"""An isolated toolbox sees nothing of the server, and what takes too long is really ended: real processes."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freehold.clock import HandClock
from freehold.environments.launcher import find_program
from freehold.environments.toolprocess import ToolProcesses
from freehold.errors import Misconfigured
from freehold.toolboxes.base import ToolResult
from freehold.toolboxes.isolated import IsolatedToolbox
from freehold.toolboxes.load import named_files
from freehold.toolboxes.settings import ToolboxSettings

if find_program("bwrap") is None and not os.environ.get("CI"):
    pytest.skip("bubblewrap is not installed", allow_module_level=True)

SETTINGS = ToolboxSettings(tool_timeout_s=5, isolate_processes=2, tool_result_bytes=5000)
SOURCE = '''
import os, subprocess, sys
from pathlib import Path
from anthropic import beta_tool
from freehold.toolboxes import current_call
import neighbour

@beta_tool
def look(path: str) -> dict:
    """What this process sees."""
    print("this must not garble the answer")
    seen = [Path(p) for p in (path, path + "/keys", str(Path(path).parent.parent / "other"), "/etc/shadow")]
    return {
        "variables": dict(os.environ),
        "exist": [str(p) for p in seen if p.exists()],
        "beside": sorted(os.listdir(Path(__file__).parent)),
        "processes": [p for p in os.listdir("/proc") if p.isdigit()],
        "call": [current_call().key, current_call().session_id, neighbour.WORD],
    }

@beta_tool
def hang(mark: str) -> str:
    """Start another process, and never come back."""
    subprocess.run([sys.executable, "-c", "import signal; signal.pause()", mark], start_new_session=True)
    return "never"

@beta_tool
def die() -> str:
    """End the whole process."""
    os._exit(3)

@beta_tool
def number() -> str:
    """Which process this is, for those who look from inside."""
    neighbour.count += 1
    return str(neighbour.count)

@beta_tool
def write(path: str) -> str:
    """Try to write a file."""
    Path(path).write_text("x")
    return "written"

@beta_tool
def long() -> str:
    """More than fits."""
    return "x" * 20_000
'''


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "company"
    (folder / "freehold-data").mkdir(parents=True)
    (tmp_path / "other").write_text("secret")
    (folder / "freehold-data" / "keys").write_text("secret")
    (folder / "freehold.toml").write_text('upstream_key = "secret"')
    (folder / "neighbour.py").write_text('WORD = "hello"\ncount = 0\n')
    (folder / "walled.py").write_text(SOURCE)
    return folder / "walled.py"


@pytest.fixture
async def walled(file: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[IsolatedToolbox]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-of-the-server")
    monkeypatch.setenv("SHOP_TOKEN", "for the tool")
    launch = ToolProcesses(variables=["SHOP_TOKEN"], paths=[]).start
    toolbox = await IsolatedToolbox.open(file, SETTINGS, clock, launch)
    yield toolbox
    await toolbox.close()
    await until(lambda: not running(str(file)))


async def call(toolbox: IsolatedToolbox, tool: str, **arguments: Any) -> ToolResult:
    return await toolbox.call(tool, arguments, key="sevt_1", session_id="sesn_1")


def text(result: ToolResult) -> str:
    return str(result.content[0]["text"])


def running(mark: str) -> list[int]:
    """Processes of this machine with `mark` among their arguments, zombies left out (theirs are empty)."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if mark.encode() in words:
            found.append(int(entry.name))
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 - other processes change it, without an event to wait for
            await asyncio.sleep(0.01)


async def hanging(toolbox: IsolatedToolbox, mark: str) -> asyncio.Future[ToolResult]:
    pending = asyncio.ensure_future(call(toolbox, "hang", mark=mark))
    await until(lambda: bool(running(mark)))
    return pending


async def test_nothing_of_the_server_is_visible(walled: IsolatedToolbox, file: Path) -> None:
    seen = json.loads(text(await call(walled, "look", path=str(file.parent / "freehold-data"))))
    assert "ANTHROPIC_API_KEY" not in seen["variables"]
    assert set(seen["variables"]) <= {
        *("PATH", "HOME", "TMPDIR", "LANG", "PYTHONDONTWRITEBYTECODE", "SHOP_TOKEN", "PWD", "LC_CTYPE")
    }
    assert seen["variables"]["SHOP_TOKEN"] == "for the tool"
    assert seen["exist"] == []
    assert seen["beside"] == ["neighbour.py", "walled.py"]
    assert len(seen["processes"]) <= 2
    assert seen["call"] == ["sevt_1", "sesn_1", "hello"]


async def test_it_offers_what_the_file_offers_and_refuses_like_any_toolbox(walled: IsolatedToolbox) -> None:
    assert [tool.name for tool in walled.tools()] == ["look", "hang", "die", "number", "write", "long"]
    assert walled.tools()[0].input_schema["required"] == ["path"]
    assert "There is no tool 'nothing'" in text(await call(walled, "nothing"))
    bad = await call(walled, "look", path=3)
    assert bad.is_error and "path: must be string" in text(bad)
    assert "20000 bytes, 5000 are shown" in text(await call(walled, "long"))


async def test_nothing_of_the_host_can_be_written(walled: IsolatedToolbox, file: Path) -> None:
    for path in (file, Path("/usr/new"), Path("/new")):
        refused = await call(walled, "write", path=str(path))
        assert refused.is_error and "Read-only file system" in text(refused)
    assert text(await call(walled, "write", path=f"/tmp/own-{file.parent.parent.name}")) == "written"
    assert f"own-{file.parent.parent.name}" not in os.listdir("/tmp")  # its `/tmp` is its own


async def test_a_time_out_ends_the_process_and_all_that_it_started(walled: IsolatedToolbox, clock: HandClock) -> None:
    mark = uuid.uuid4().hex
    pending = await hanging(walled, mark)
    await clock.advance(5)
    late = await pending
    assert late.is_error and "Its process was ended; whether it took effect is not known" in text(late)
    await until(lambda: not running(mark))
    assert text(await call(walled, "number")) == "1"  # in a new process


async def test_a_call_that_is_given_up_ends_and_leaves_the_others_alone(walled: IsolatedToolbox) -> None:
    assert [text(await call(walled, "number")) for _ in range(2)] == ["1", "2"]  # one process is used again
    marks = [uuid.uuid4().hex for _ in range(2)]
    first, second = [await hanging(walled, mark) for mark in marks]
    first.cancel()
    await until(lambda: not running(marks[0]))
    assert running(marks[1]) and not second.done()
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


async def test_a_process_that_dies_is_told_and_replaced(walled: IsolatedToolbox) -> None:
    died = await call(walled, "die")
    assert died.is_error and "Whether it took effect is not known" in text(died)
    assert text(await call(walled, "number")) == "1"


async def test_a_file_that_is_no_toolbox_is_refused_with_its_line(tmp_path: Path, clock: HandClock) -> None:
    (tmp_path / "broken.py").write_text("import os\nraise ValueError('no')\n")
    with pytest.raises(Misconfigured, match=r"broken\.py:2: ValueError: no"):
        await IsolatedToolbox.open(tmp_path / "broken.py", SETTINGS, clock, ToolProcesses(variables=[], paths=[]).start)
    await until(lambda: not running(str(tmp_path / "broken.py")))


@pytest.mark.parametrize(
    ("shown", "named"),
    [
        ({"variables": ["NOT_SET_ANYWHERE"], "paths": []}, "isolate_variables: NOT_SET_ANYWHERE"),
        ({"variables": [], "paths": ["/not/there"]}, "isolate_paths: /not/there"),
    ],
)
async def test_what_is_to_be_shown_must_exist(file: Path, clock: HandClock, shown: Any, named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        await IsolatedToolbox.open(file, SETTINGS, clock, ToolProcesses(**shown).start)


def test_only_toolboxes_that_are_there_can_be_isolated(file: Path) -> None:
    settings = replace(SETTINGS, tools=(str(file),), isolate=("other",))
    with pytest.raises(Misconfigured, match="there is no toolbox 'other' among `tools`"):
        named_files(settings)
