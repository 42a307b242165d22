"""The guide to workers of one's own: every program in it runs, against a real server, as processes of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from freehold.launch import ServerProcess
from tests import programs
from tests.contract.manifest import proves
from tests.typescript import sdk_folder

_ROOT = Path(__file__).parents[2]
_GUIDE = _ROOT / "docs" / "guides" / "hybrid-worker.md"
_SOURCES = _ROOT / "docs_src" / "hybrid"
_BLOCK = re.compile(r"<!-- (docs_src/[\w/.]+) -->\n```\w+\n(.*?)^```$", re.S | re.M)


@dataclass(frozen=True, slots=True)
class Place:
    """A server, a self-hosted environment on it, and the key of its workers."""

    server: ServerProcess
    environment: str
    key: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Made as the guide says."""
    folder = tmp_path_factory.mktemp("hybrid")
    with ServerProcess(folder, arguments=["--upstream", "simulator"]) as server:
        environment = _run([_SOURCES / "environment.py"], server).strip()
        create = ["-m", "freehold", "keys", "create", "laptop", f"--environment={environment}", f"--data={folder}"]
        yield Place(server, environment, _run(list(create), server).splitlines()[0])


def test_every_program_of_the_guide_is_a_tested_file() -> None:
    found = dict(_BLOCK.findall(_GUIDE.read_text("utf-8")))
    assert set(found) == {str(path.relative_to(_ROOT)) for path in _SOURCES.iterdir() if path.is_file()}
    for path, text in found.items():
        assert (_ROOT / path).read_text("utf-8").rstrip() == text.rstrip(), path


@proves("beta.environments.work.worker")
def test_a_worker_in_python_does_the_task_of_the_guide(place: Place, tmp_path: Path) -> None:
    with _worker([sys.executable, str(_SOURCES / "worker.py")], place, tmp_path):
        assert "user.tool_result 2 poem.txt" in _task(place)


def test_a_worker_in_typescript_does_the_task_of_the_guide(place: Place, tmp_path: Path) -> None:
    script = sdk_folder() / "hybrid_worker.mjs"
    shutil.copyfile(_SOURCES / "worker.mjs", script)
    with _worker(["node", str(script)], place, tmp_path):
        assert "user.tool_result 2 poem.txt" in _task(place)


@contextmanager
def _worker(command: list[str], place: Place, folder: Path) -> Iterator[None]:
    """A worker that runs for the time of the block, and has nothing but the environment's key."""
    (folder / "project").mkdir()
    (folder / "project" / "poem.txt").write_text("the moon\nthe river\n")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    given = {
        "ANTHROPIC_ENVIRONMENT_ID": place.environment,
        "ANTHROPIC_ENVIRONMENT_KEY": place.key,
        "ANTHROPIC_BASE_URL": place.server.address,
    }
    process = subprocess.Popen(command, cwd=folder, env={**inherited, **given})
    try:
        yield
        assert process.poll() is None, "it waits for more"
    finally:
        process.kill()
        process.wait(timeout=60)


def _task(place: Place) -> list[str]:
    return _run([_SOURCES / "task.py"], place.server, ANTHROPIC_ENVIRONMENT_ID=place.environment).splitlines()


def _run(command: list[str | Path], server: ServerProcess, **more: str) -> str:
    given = {"ANTHROPIC_BASE_URL": server.address, "ANTHROPIC_API_KEY": server.key, **more}
    done = programs.run(*command, env={**os.environ, **given})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
