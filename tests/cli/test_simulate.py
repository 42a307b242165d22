"""`freehold simulate`: the simulator alone, for whoever tests against Claude."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anthropic
import pytest

from tests.cli.commands import freehold


@contextmanager
def simulating(*arguments: str) -> Iterator[str]:
    command = [sys.executable, "-m", "freehold", "simulate", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"The simulator is ready at (http://127\.0\.0\.1:\d+)$", line)
        assert found, line
        yield found[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, -signal.SIGINT, 130)


@pytest.fixture
def address() -> Iterator[str]:
    with simulating("--brain", "echo") as address:
        yield address


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


def test_a_scenario_a_tier_and_a_clock_are_given_on_the_command_line(tmp_path: Path) -> None:
    scenario = tmp_path / "refund.yaml"
    scenario.write_text('name: refund\nsteps:\n  - on: {text: "refund"}\n    say: "It is on its way."\n', "utf-8")
    given = ("--scenario", str(scenario), "--tier", "start", "--start", "2026-11-23T06:00:00Z", "--stopped")
    with (
        simulating(*given, "--exact-counts") as address,
        anthropic.Anthropic(base_url=address, api_key="anything") as client,
    ):
        answer = client.messages.with_raw_response.create(
            model="claude-haiku-4-5", max_tokens=50, messages=[{"role": "user", "content": "My refund, please"}]
        )
    message = answer.parse()
    assert message.content[0].type == "text" and message.content[0].text == "It is on its way."
    assert answer.headers["anthropic-ratelimit-requests-limit"] == "1000"
    assert answer.headers["anthropic-ratelimit-requests-reset"].startswith("2026-11-23T06:0")


@pytest.mark.parametrize(("option", "text"), [("--scenario", "steps: 3"), ("--start", "yesterday")])
def test_what_cannot_be_used_is_told_in_one_line(option: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text, "utf-8")
    done = freehold("simulate", "--port", "0", option, str(file) if option == "--scenario" else text)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert option in done.stderr
