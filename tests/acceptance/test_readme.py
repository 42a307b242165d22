"""What the README shows is run as it stands there, against the real server."""

from __future__ import annotations

import re
from pathlib import Path

from freehold.launch import ServerProcess
from tests import programs

README = Path(__file__).parents[2] / "README.md"


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.M | re.S)


def test_the_blocks_of_the_readme_run_one_after_the_other(tmp_path: Path) -> None:
    first, tools, second = blocks()
    assert tools.startswith("# company.py\n")
    company = tmp_path / "company.py"
    company.write_text(tools, "utf-8")
    with ServerProcess(tmp_path / "freehold-data", tools=[company], arguments=["--upstream=simulator"]) as server:
        script = (first + second).replace("http://127.0.0.1:8788", server.address)
        done = programs.run("-c", script, cwd=tmp_path, timeout_s=100)
    assert done.returncode == 0, done.stderr
    assert "Li Na, gold, Chengdu" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("session.status_idle")
    assert "Usage(" in done.stdout


def test_the_readme_is_short_and_names_only_files_that_exist() -> None:
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 150
    for path in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (README.parent / path).exists(), path
