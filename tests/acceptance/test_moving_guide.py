"""The guide on moving from Claude.ai: every Python block is a file under docs_src, and runs."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold import testing
from freehold.launch import ServerProcess
from tests import programs
from tests.environments.conftest import require_bubblewrap
from tests.gateway.house import served
from tests.package_index import package_index

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs" / "guides" / "moving.md"
_SOURCES = _ROOT / "docs_src" / "moving"
_BLOCK = re.compile(r"<!-- (docs_src/[\w/.]+) -->\n```python\n(.*?)^```$", re.S | re.M)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server's address and a key of it."""
    require_bubblewrap()
    with ServerProcess(tmp_path_factory.mktemp("moving"), arguments=["--upstream", "simulator"]) as process:
        yield process.address, process.key


def _run(address: tuple[str, str], name: str, folder: Path) -> str:
    url, key = address
    env = {**os.environ, "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key}
    done = programs.run(_SOURCES / name, cwd=folder, env=env, timeout_s=120)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_page_shows_the_files_that_are_tested() -> None:
    found = dict(_BLOCK.findall(_PAGE.read_text("utf-8")))
    assert set(found) == {str(path.relative_to(_ROOT)) for path in _SOURCES.glob("*.py")}
    for path, text in found.items():
        assert (_ROOT / path).read_text("utf-8") == text, path


def test_a_project_comes_over_with_its_knowledge(address: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "project" / "knowledge").mkdir(parents=True)
    (tmp_path / "project" / "instructions.md").write_text("You help with the rollout. Answer in one sentence.\n")
    plan = "# Rollout\n\nThe rollout plan is signed by Ms Lindqvist, head of operations.\n"
    (tmp_path / "project" / "knowledge" / "plan.md").write_text(plan)
    (tmp_path / "project" / "knowledge" / "dates.csv").write_text("region,date\nnorth,May\nsouth,June\n")
    said = _run(address, "project.py", tmp_path)
    assert "found: ['Rollout · Rollout'" in said and "Ms Lindqvist" in said


async def test_packages_are_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    require_bubblewrap()
    async with package_index(monkeypatch) as index:
        settings = {
            "egress_private_hosts": ["index.test"],
            "layer_pip_index": f"http://index.test:{index.port}/simple/",
        }
        async with testing.server(settings=settings) as running, served(running.application.asgi) as url:
            said = await asyncio.to_thread(_run, (url, running.key), "packages.py", tmp_path)
    assert said.strip() == "hello from the package"


def test_a_workspace_is_there_again_and_a_fork_is_apart(address: tuple[str, str], tmp_path: Path) -> None:
    lines = _run(address, "workspace.py", tmp_path).splitlines()
    assert lines[0] == "10 report.txt" and lines[1] == "draft one" and lines[-1] == "draft one"
    assert lines[-2].endswith("draft two")
