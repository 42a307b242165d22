"""A tools file that changes while the server runs; what a tool may know of its call; the command that tries tools."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from freehold import testing
from freehold.cli.commands import commands
from freehold.clock import SystemClock
from freehold.errors import Misconfigured
from freehold.toolboxes.base import Toolbox
from freehold.toolboxes.changing import ChangingToolbox
from freehold.toolboxes.current import Asker
from freehold.toolboxes.load import load_toolbox
from freehold.toolboxes.settings import ToolboxSettings

TOOLS = '''
from anthropic import beta_tool
import asyncio
from freehold.toolboxes import current_call
from beside_{stem} import WORD

@beta_tool
def ask(name: str) -> str:
    """Ask who is called {word}, by name."""
    return f"{word} {{WORD}} {{name}}"

@beta_tool
def whoami() -> str:
    """Say on whose behalf this is called."""
    call = current_call()
    call.logger.warning("asked by %s", call.asker.user_id)
    call.progress(1, 2, "half")
    return f"{{call.asker.workspace_id}} {{call.asker.key_id}} {{call.asker.role}} {{call.asker.user_id}} {{call.key}}"
'''


def written(folder: Path, word: str, beside: str, stem: str = "mine") -> Path:
    (folder / f"beside_{stem}.py").write_text(f"WORD = {beside!r}")
    file = folder / f"{stem}.py"
    file.write_text(TOOLS.format(word=word, stem=stem))
    return file


async def said(box: Toolbox) -> str:
    return str((await box.call("ask", {"name": "Li"}, key="k")).content[0]["text"])


async def test_a_file_and_what_it_imports_are_loaded_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = written(tmp_path, "old", "x")
    box = ChangingToolbox(file, lambda: load_toolbox(file, ToolboxSettings(), SystemClock()))
    assert await said(box) == "old x Li"
    written(tmp_path, "newer", "x")
    assert "newer" in box.tools()[0].description and await said(box) == "newer x Li"
    written(tmp_path, "newer", "long")
    assert await said(box) == "newer long Li"
    file.write_text("def broken(")
    assert await said(box) == "newer long Li"
    assert "cannot be loaded; its tools stay" in caplog.text
    await box.close()


def test_it_does_not_go_with_isolation(tmp_path: Path) -> None:
    file = written(tmp_path, "old", "x", "apart")

    async def start() -> None:
        settings = {"tools_reload": True, "isolate": ("apart",)}
        async with testing.server(tools=[file], settings=settings):
            raise AssertionError("it started")

    with pytest.raises(Misconfigured, match="tools_reload"):
        asyncio.run(start())


async def test_a_tool_knows_on_whose_behalf_it_runs_and_can_tell_how_far_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = load_toolbox(written(tmp_path, "old", "x", "known"), ToolboxSettings(), SystemClock())
    told: asyncio.Queue[tuple[float, float | None, str | None]] = asyncio.Queue()

    async def report(done: float, total: float | None, message: str | None) -> None:
        await told.put((done, total, message))

    asker = Asker("wrkspc_1", "apikey_1", "member", "li", report)
    result = await box.call("whoami", {}, key="key_1", asker=asker)
    assert result.content[0]["text"] == "wrkspc_1 apikey_1 member li key_1"
    async with asyncio.timeout(120):
        assert await told.get() == (1, 2, "half")
    assert "asked by li" in caplog.text
    assert (await box.call("whoami", {}, key="k")).content[0]["text"] == "    k"
    await box.close()


def test_tools_are_listed_called_and_tested_without_a_server(tmp_path: Path) -> None:
    file = written(tmp_path, "old", "x", "tried")

    def ran(*arguments: str) -> tuple[str, int]:
        done = CliRunner().invoke(commands(), ["tools", *arguments, "--tools", str(file)])
        return str(done.output or done.exception), done.exit_code

    listed, _ = ran("list")
    assert "tried.ask(name)" in listed and "Ask who is called old" in listed
    assert json.loads(ran("list", "--json")[0])[0]["input_schema"]["required"] == ["name"]
    assert ran("call", "ask", '{"name": "Li"}') == ("old x Li\n", 0)
    wrong, code = ran("call", "tried.ask", "{}")
    assert "missing argument name" in wrong and code == 1
    assert "tried.whoami" in ran("call", "nothing")[0]
    assert "must be a JSON object" in ran("call", "ask", "[]")[0]
    cases = tmp_path / "cases.yaml"
    cases.write_text(
        "- {tool: ask, arguments: {name: Li}, contains: Li}\n"
        "- {tool: ask, error: true, contains: missing}\n"
        "- {tool: ask, arguments: {name: Li}, contains: Wang}\n"
    )
    tested, code = ran("test", str(cases))
    assert "FAIL  ask" in tested and "2 of 3 cases hold" in tested and code == 1
