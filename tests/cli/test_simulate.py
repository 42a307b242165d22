"""`freehold simulate`: the simulator alone, for whoever tests against Claude."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import anthropic
import pytest

from tests.cli.commands import freehold


@pytest.fixture
def address() -> Iterator[str]:
    command = [sys.executable, "-m", "freehold", "simulate", "--port", "0", "--brain", "echo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"The simulator is ready at (http://127\.0\.0\.1:\d+)$", line)
        assert found, line
        yield found[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, -signal.SIGINT, 130)


def test_any_key_gets_answers_from_the_chosen_brain(address: str) -> None:
    with anthropic.Anthropic(base_url=address, api_key="anything", _strict_response_validation=True) as client:
        message = client.messages.create(
            model="claude-haiku-5-5", max_tokens=50, messages=[{"role": "user", "content": "say this"}]
        )
    assert [block.text for block in message.content if block.type == "text"] == ["say this"]


def test_a_taken_port_is_told(address: str) -> None:
    done = freehold("simulate", "--port", address.rsplit(":", 1)[1])
    assert done.returncode == 2
    assert "--port 0" in done.stderr
    assert "Traceback" not in done.stderr
