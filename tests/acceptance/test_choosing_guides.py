"""The guides on caching, routing and long conversations: every Python block is a file under docs_src, and runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.launch import ServerProcess
from tests import programs

_ROOT = Path(__file__).parents[2]
_PAGES = [_ROOT / "docs" / "guides" / name for name in ("caching.md", "routing.md", "context.md")]
_SOURCES = _ROOT / "docs_src" / "choosing"
_BLOCK = re.compile(r"(?:<!-- (docs_src/[\w/.]+) -->\n)?^```(\w*)\n(.*?)^```$", re.S | re.M)
_CHAPTER = _ROOT / "examples" / "chapter"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    environment = {"FREEHOLD_CACHING": "auto"}
    folder = tmp_path_factory.mktemp("choosing")
    with ServerProcess(folder, arguments=["--upstream", "simulator"], environment=environment) as process:
        yield process


def _run(server: ServerProcess, *command: str) -> str:
    done = programs.run(
        *command, env={**os.environ, "ANTHROPIC_BASE_URL": server.address, "ANTHROPIC_API_KEY": server.key}
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def _freehold(server: ServerProcess, *arguments: str) -> str:
    return _run(server, "-m", "freehold", *arguments, "--data", str(server.data))


def test_every_python_block_is_a_tested_file() -> None:
    found = {}
    for page in _PAGES:
        for path, language, text in _BLOCK.findall(page.read_text("utf-8")):
            assert bool(path) is (language == "python"), f"a block without a file: {text[:60]}"
            if path:
                found[path] = text
    sources = [*_SOURCES.glob("*.py"), *(_SOURCES.parent / "context").glob("*.py")]
    assert set(found) == {str(path.relative_to(_ROOT)) for path in sources}
    for path, text in found.items():
        assert (_ROOT / path).read_text("utf-8").rstrip() == text.rstrip(), path


def test_auto_chooses_and_every_choice_is_explained(server: ServerProcess) -> None:
    lines = _run(server, str(_SOURCES / "auto.py")).splitlines()
    assert [line.split(" | ")[0] for line in lines] == ["claude-haiku-5-5", "claude-opus-5-5", "claude-sonnet-5-5"]
    call_id = lines[1].rsplit("call=", 1)[1]
    told = _freehold(server, "route", "explain", call_id)
    assert f"{call_id}: auto → claude-opus-5-5" in told and "design" in told
    assert "claude-sonnet-5-5" in _freehold(server, "route", "explain", "last").splitlines()[0]
    listed = _freehold(server, "route", "list")
    assert "complex_words" in listed and "simple_words" in listed


def test_a_call_costs_no_more_than_it_may(server: ServerProcess) -> None:
    models, refused = _run(server, str(_SOURCES / "most.py")).splitlines()
    assert models == "claude-opus-5-5 claude-haiku-5-5"
    assert "the cheapest estimate is $0.0" in refused


def test_the_system_prompt_is_written_once_and_a_clock_in_it_is_found(server: ServerProcess) -> None:
    first, *others = _run(server, str(_SOURCES / "cached.py")).splitlines()
    assert re.fullmatch(r"written [1-9]\d{3} read 0", first)
    assert all(re.fullmatch(r"written \d* ?read [1-9]\d{3}", line) for line in others), others
    _run(server, str(_SOURCES / "clock.py"))
    report = _freehold(server, "cache", "report")
    assert "the system prompt has changed at system.0" in report
    assert "before: " in report and "after: " in report


def test_old_results_of_tools_are_cleared_and_the_answer_tells(server: ServerProcess) -> None:
    [edited] = _run(server, str(_SOURCES.parent / "context" / "edits.py")).splitlines()
    assert re.fullmatch(r"clear_tool_uses_20250919 cleared 9 results: [1-9]\d{3,4} tokens", edited)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tier_routing.py", ["claude-sonnet-5-5 answered", "claude-opus-5-5 answered"]),
        ("adaptive_agent.py", ["tool_use", r"12\.5"]),
        ("forced_tool.py", [r"tool: record_sentiment\(", r"any: record_sentiment\("]),
    ],
)
def test_the_listings_of_the_chapter_work_with_auto(server: ServerProcess, name: str, says: list[str]) -> None:
    text = re.sub(r'"claude-[a-z]+-\d-\d"', '"auto"', (_CHAPTER / name).read_text("utf-8"))
    out = _run(server, "-c", text)
    for pattern in says:
        assert re.search(pattern, out), out


def test_the_settings_of_the_guides_are_settings(tmp_path: Path) -> None:
    for page in _PAGES:
        blocks = [text for _, language, text in _BLOCK.findall(page.read_text("utf-8")) if language == "toml"]
        assert blocks
        for number, text in enumerate(blocks):
            file = tmp_path / f"{page.stem}{number}.toml"
            file.write_text(text)
            done = programs.run("-m", "freehold", "config", "--config", file)
            assert done.returncode == 0, done.stderr + text
