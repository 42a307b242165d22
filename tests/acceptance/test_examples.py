"""Every example runs against a real server, with nothing but a base URL and a key from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.launch import ServerProcess
from tests import programs

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAYS = {
    "hello_messages.py": ["tokens in", "The next question has", "用一句话介绍你自己"],
    "agent_session.py": ["bash:", "count.txt: 6", "(end_turn)"],
    "own_tools.py": ["stock_of({'product': 'teapot'})", "4 pieces of teapot"],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("examples")
    arguments = ["--upstream", "simulator"]
    with ServerProcess(data, tools=[EXAMPLES / "own_tools.py"], arguments=arguments) as process:
        yield process


@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_example_runs_and_says_what_it_should(server: ServerProcess, name: str) -> None:
    done = programs.run(
        EXAMPLES / name,
        env={**os.environ, "ANTHROPIC_BASE_URL": server.address, "ANTHROPIC_API_KEY": server.key},
    )
    assert done.returncode == 0, done.stderr
    for text in SAYS[name]:
        assert text in done.stdout


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)
