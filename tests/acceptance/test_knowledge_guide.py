"""The guide on knowledge: its commands and programs are run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.knowledge.settings import KnowledgeSettings
from freehold.launch import ServerProcess
from tests.cli.commands import freehold

_PAGE = (Path(__file__).parents[2] / "docs" / "guides" / "knowledge.md").read_text("utf-8")
_BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", _PAGE, re.S | re.M)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    environment = {"FREEHOLD_KNOWLEDGE_LOCAL_VECTORS": "true"}
    arguments = ["--upstream", "simulator"]
    with ServerProcess(tmp_path_factory.mktemp("knowledge"), arguments=arguments, environment=environment) as process:
        yield process


def test_the_commands_and_programs_of_the_guide_run(server: ServerProcess, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"FREEHOLD_DATA": str(server.data), "PATH": path, "HOME": str(tmp_path)}
    environment |= {"ANTHROPIC_BASE_URL": server.address, "ANTHROPIC_API_KEY": server.key}
    told = []
    for language, block in _BLOCKS:
        command = {"sh": ["bash", "-ec", block], "python": [sys.executable, "-c", block]}.get(language)
        if command is None:
            continue
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        told.append(done.stdout + done.stderr)
    commands, agent, program = told
    assert "added     leave.md  1 passages" in commands and "2 added" in commands
    assert "handbook/leave.md#lines=1-7" in commands and "28 days" in commands
    assert "handbook/leave.md#lines=1-7" in agent
    assert program == "handbook/hotels.csv#lines=2-3 end_turn\n"


def test_the_settings_of_the_guide_are_settings() -> None:
    named = {name for language, block in _BLOCKS if language == "toml" for name in tomllib.loads(block)}
    assert named and named <= set(KnowledgeSettings.__dataclass_fields__)


def test_a_folder_is_kept_up_to_date_and_nothing_leads_out_of_it(server: ServerProcess, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> str:
        done = freehold("knowledge", *arguments, "--data", server.data)
        assert done.returncode == 0, done.stderr
        return done.stdout

    secret, folder = tmp_path / "secret.md", tmp_path / "docs"
    secret.write_text("zeppelin")
    (folder / "sub" / ".git").mkdir(parents=True)
    (folder / "a.md").write_text("alpha")
    (folder / "sub" / "b.py").write_text("beta = 1")
    (folder / "sub" / ".git" / "c.md").write_text("gamma")
    (folder / "picture.png").write_bytes(b"\x89PNG\0\0")
    (folder / "link.md").symlink_to(secret)
    (folder / "away").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.md")
    assert run("create", "docs").startswith("kcol_")
    assert run("add", "docs", folder) == "2 added\n"
    assert run("search", "zeppelin gamma", "--in", "docs", "--mode", "words") == "Nothing was found.\n"
    (folder / "a.md").write_text("alpha, changed")
    (folder / "sub" / "b.py").unlink()
    assert run("add", "docs", folder, "--prune") == "1 deleted, 1 replaced\n"
    assert '"name": "a.md"' in run("list", "docs", "--json")
    failed = freehold(
        "knowledge", "add", "docs", folder, folder / "picture.png", "http://10.0.0.1/x", "--data", server.data
    )
    assert failed.returncode == 1 and failed.stdout == "2 failed, 1 unchanged\n"
    assert "kind is not known" in failed.stderr and "not allowed" in failed.stderr
    missing = freehold("knowledge", "add", "none", folder, "--data", server.data)
    assert missing.returncode == 2 and "no collection" in missing.stderr
    assert "is deleted" in run("delete", "docs") and "docs" not in run("list")
