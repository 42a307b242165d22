"""The guide “Test your Claude code”: every code block is a file under docs_src, and every file runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import programs

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs" / "guides" / "test-your-claude-code.md"
_SOURCES = _ROOT / "docs_src" / "simulator"
_BLOCK = re.compile(r"(?:<!-- (docs_src/[\w/.]+) -->\n)?^```(\w*)\n(.*?)^```$", re.S | re.M)


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """`freehold simulate` as the guide starts it, on a free port, and what the guide exports."""
    command = [str(Path(sys.executable).with_name("freehold")), "simulate", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as process:
        try:
            assert process.stdout is not None
            ready = re.search(r"http://\S+", process.stdout.readline())
            assert ready, "the simulator did not come up"
            yield {**os.environ, "ANTHROPIC_BASE_URL": ready.group(), "ANTHROPIC_API_KEY": "anything"}
        finally:
            process.terminate()


def _python(environment: dict[str, str], folder: Path, *command: str | Path) -> str:
    return _said(programs.run(*command, cwd=folder, env=environment))


def _said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_every_block_is_a_tested_file() -> None:
    found = {}
    for path, language, text in _BLOCK.findall(_PAGE.read_text("utf-8")):
        if path:
            found[path] = text
        else:
            assert language == "bash" and "freehold simulate" in text, f"a block without a file: {text[:60]}"
    assert set(found) == {f"docs_src/simulator/{path.name}" for path in _SOURCES.iterdir() if path.is_file()}
    for path, text in found.items():
        assert (_ROOT / path).read_text("utf-8").rstrip() == text.rstrip(), path


def test_the_first_minute(environment: dict[str, str]) -> None:
    assert _python(environment, _SOURCES, _SOURCES / "first.py") == "get_weather {'city': 'Paris'}\n"


def test_the_faults(environment: dict[str, str]) -> None:
    out = _python(environment, _SOURCES, _SOURCES / "faults.py")
    assert out.startswith("529 2\n") and out.endswith("in the middle: overloaded_error\n")


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_admin_calls(environment: dict[str, str]) -> None:
    command = ["bash", "-e", str(_SOURCES / "admin.sh")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    out = _said(done)
    assert '"kind":"api_error"' in out and '"stopped":false' in out and '"nanodollars"' in out


def test_the_pytest_files(environment: dict[str, str], tmp_path: Path) -> None:
    for path in _SOURCES.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["freehold.testing.plugin"]\n')
    out = _python(environment, tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", ".")
    assert "4 passed" in out


def test_the_replay(environment: dict[str, str], tmp_path: Path) -> None:
    out = _python(environment, tmp_path, _SOURCES / "replay.py", tmp_path / "kept")
    assert out == "6 * 7 = 42\n"
    assert len(list((tmp_path / "kept").iterdir())) == 1
