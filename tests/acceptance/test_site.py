"""The site builds without the network, with every link and anchor whole; the tutorial does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from freehold.launch import ServerProcess
from tests.contract.test_tenants import ROWS

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
NAMED = re.compile(r"^# (\S+\.(?:py|yaml))\n")
SERVE = "freehold serve --tools shop.py"


def blocks() -> Iterator[tuple[str, str]]:
    """Language and text of each; one within another belongs to it."""
    for found in re.finditer(
        r"^```(sh|python|yaml)\n(.*?)^```\n(?!^```)(?=\n|\Z)", TUTORIAL.read_text("utf-8"), re.M | re.S
    ):
        yield found[1], found[2]


def test_the_tutorial_runs_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    """Files are written, commands run in order; what installs, looks around and serves is done or tested elsewhere."""
    written: dict[str, str] = {}
    script: list[str] = []
    for language, text in blocks():
        if language != "sh":
            named = NAMED.match(text)
            assert named is not None, text
            written[named[1]] = text
        elif text.strip() not in ("make install", "freehold doctor", SERVE):
            script.append(text)
    assert set(written) == {"shop.py", "first.py", "clerk.yaml", "watch.py"} and len(script) >= 6
    for name, text in written.items():
        (tmp_path / name).write_text(text, "utf-8")
    data = tmp_path / "freehold-data"
    with ServerProcess(data, tools=[tmp_path / "shop.py"], arguments=["--upstream=simulator"]) as server:
        for name in ("first.py", "watch.py"):
            text = (tmp_path / name).read_text("utf-8").replace("http://127.0.0.1:8788", server.address)
            (tmp_path / name).write_text(text, "utf-8")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FREEHOLD_")}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-e"],
            input="\n".join(script),
            cwd=tmp_path,
            env={**inherited, "PATH": path, "COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout
    assert "ink: 12 pieces" in told and "tea: 3 pieces" in told
    assert (tmp_path / "out" / "sum.txt").read_text() == "10\n"
    assert "session.status_idle" in told and "By program" in told


def test_the_site_builds_without_the_network_and_every_link_holds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "NO_PROXY": ""}
    environment = {**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 25
    loaded = re.compile(r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?:)?//", re.I)
    for page in pages:
        assert not loaded.search(page.read_text("utf-8")), f"{page.name} loads something from elsewhere"


def test_every_route_and_every_command_is_in_the_reference() -> None:
    routes, commands = ((ROOT / "docs" / "reference" / name).read_text("utf-8") for name in ("api.md", "commands.md"))
    for route in set(ROWS) - {"POST /v1/messages", "POST /v1/messages/count_tokens"}:
        method, path = route.split(" ")
        assert f"| {method} | `{path}` |" in routes, route
    for command in ("serve", "run", "sessions fork", "logs", "budgets set", "doctor"):
        assert f"## freehold {command}\n" in commands
