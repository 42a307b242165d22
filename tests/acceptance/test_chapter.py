"""Every listing of a chapter about the Claude API, as a file that runs: with a base URL and a key, through Freehold.

Behind the server stands a simulator of each test's own, so that faults can be ordered and the bill be looked at. With
ANTHROPIC_API_KEY set in the environment the same files run against Claude by hand.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.launch import ServerProcess
from freehold.testing import plugin
from tests import programs

claude, claude_station = plugin.claude, plugin.claude_station
"""The fixtures of the public test kit, for this file."""
CHAPTER = Path(__file__).resolve().parents[2] / "examples" / "chapter"
SAYS = {
    "batches.py": [
        "submitted msgbatch_",
        "review-2: ",
        "broken: errored, ",
        r"succeeded 3, errored 1, [1-9]\d* tokens",
    ],
    "basic_call.py": [r"input tokens: \d+, output tokens: \d+", "stop reason: end_turn"],
    "clients.py": ["environment: 200", "explicit: 200", "enterprise: 200, [a-z_]+, req_"],
    "streaming.py": [r"sync: \d+ pieces", r"async: \d+ pieces, \d+ tokens"],
    "sse_endpoint.py": [r"\d+ pieces, \d+ tokens", "streams still open: 0"],
    "parallel_tools.py": ["called together: get_population, get_time, get_weather", "Turin"],
    "forced_tool.py": [r"tool: record_sentiment\(", r"any: record_sentiment\(", "refused: 400"],
    "cached_questions.py": [r"written [1-9]\d{3}, read 0", r"written 0, read [1-9]\d{3}", r"saved \$0\.0"],
    "back_off.py": ["attempt 1 failed: OverloadedError", "attempt 2 failed", "answered: end_turn"],
    "token_budget.py": ["call 1: ", "refused after [1-9]"],
    "tier_routing.py": ["simple: claude-haiku", "usual: claude-sonnet", "hard: claude-opus"],
    "adaptive_agent.py": ["turn 1: max_tokens", "tool_use", r"12\.5"],
    "monitored_call.py": [r'"ok": true.*"cost_nanodollars": "\d+"', '"error": "NotFoundError"', "raised: 404"],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, claude_station: plugin.Station) -> Iterator[ServerProcess]:
    environment = {"FREEHOLD_UPSTREAM_KEY": "sk-ant-simulated", "FREEHOLD_MAX_RETRIES": "0"}
    arguments = ["--upstream", claude_station.url]
    with ServerProcess(tmp_path_factory.mktemp("chapter"), arguments=arguments, environment=environment) as process:
        yield process


@pytest.mark.parametrize("name", sorted(SAYS))
def test_a_listing_runs_and_says_what_it_should(name: str, server: ServerProcess, claude: plugin.Claude) -> None:
    if name == "back_off.py":
        claude.fault("overloaded", times=2)
    done = programs.run(
        CHAPTER / name,
        env={**os.environ, "ANTHROPIC_BASE_URL": server.address, "ANTHROPIC_API_KEY": server.key},
    )
    assert done.returncode == 0, done.stderr
    for pattern in SAYS[name]:
        assert re.search(pattern, done.stdout), done.stdout
    assert claude.requests


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("ANTHROPIC_API_KEY"), reason="needs ANTHROPIC_API_KEY, and costs some cents")
def test_the_same_listings_run_on_claude_through_freehold(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, arguments=["--upstream", "claude"]) as process:
        for name in sorted(SAYS):
            done = subprocess.run(
                [sys.executable, str(CHAPTER / name)],
                env={**os.environ, "ANTHROPIC_BASE_URL": process.address, "ANTHROPIC_API_KEY": process.key},
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, (name, done.stderr)


def test_every_listing_is_run() -> None:
    assert {path.name for path in CHAPTER.glob("*.py")} == set(SAYS)
