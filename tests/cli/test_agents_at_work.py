"""Agents made, run, watched and read from the command line, against a real server with real boxes."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.launch import ServerProcess
from tests.cli.commands import freehold

AGENT = """\
name: clerk
model: claude-sonnet-5-5
system: Work on the files you are given.
tools:
  - type: agent_toolset_20260401
    default_config: {permission_policy: {type: always_ask}}
"""
TASK = "Please run\n```bash\ncat /mnt/session/uploads/till.csv; echo 42 > /mnt/session/outputs/sum.txt\n```"
TOOLS = '''
from anthropic import beta_tool
from prices import PRICES

@beta_tool
def get_price(product: str) -> str:
    """Get the price of a product, such as "ink"."""
    return PRICES[product]
'''


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("data"), arguments=["--upstream", "simulator"]) as process:
        yield process


@pytest.fixture(scope="module")
def agent(running: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> str:
    definition = tmp_path_factory.mktemp("agents") / "clerk.yaml"
    definition.write_text(AGENT, "utf-8")
    made = freehold("agents", "create", definition, "--data", running.data)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@pytest.fixture
def till(tmp_path: Path) -> Path:
    (tmp_path / "till.csv").write_text("product,yuan\nink,7\n", "utf-8")
    return tmp_path / "till.csv"


def test_a_task_is_done_with_its_file_and_leaves_its_output(
    running: ServerProcess, agent: str, till: Path, tmp_path: Path
) -> None:
    data = ["--data", str(running.data)]
    done = freehold("run", "clerk", TASK, "--file", till, "--allow", "--outputs", tmp_path / "out", *data)
    assert done.returncode == 0, done.stderr
    assert "ink,7" in done.stdout
    assert (tmp_path / "out" / "sum.txt").read_text() == "42\n"
    assert "end_turn: 2 calls, $0." in done.stdout

    session = done.stdout.split("\n", 1)[0]
    assert session in freehold("sessions", "list", "--agent", agent, *data).stdout
    told = freehold("sessions", "show", session, *data).stdout
    assert told.index("you ") < told.index("calls ") < told.index("result ") < told.index("end_turn")
    whole = json.loads(freehold("sessions", "show", session, "--json", *data).stdout)
    assert whole["events"][-1]["type"] == "session.status_idle"

    again = freehold(
        "run", "clerk", "Please run\n```bash\ncat mine 2>&1; pwd\n```", "--session", session, "--allow", *data
    )
    assert again.stdout.split("\n", 1)[0] == session
    assert freehold("sessions", "archive", session, *data).returncode == 0
    refused = freehold("sessions", "send", session, "Hello?", *data)
    assert refused.returncode == 2
    assert "takes no more events" in refused.stderr
    assert freehold("sessions", "delete", session, "--yes", *data).returncode == 0
    assert "answered 404" in freehold("sessions", "show", session, *data).stderr


def test_a_call_that_is_denied_does_not_run(running: ServerProcess, agent: str) -> None:
    done = freehold("run", agent, "Please run\n```bash\necho ran | tr a-z A-Z\n```", "--deny", "--data", running.data)
    assert done.returncode == 0, done.stderr
    assert "denied" in done.stdout
    assert "RAN" not in done.stdout


def test_without_a_terminal_and_an_order_it_says_what_to_do(running: ServerProcess, agent: str) -> None:
    done = freehold("run", agent, "Please run\n```bash\nls\n```", "--data", running.data)
    assert done.returncode == 2
    assert "say --allow or --deny" in done.stderr


def test_a_person_at_a_terminal_is_asked(running: ServerProcess, agent: str) -> None:
    said = _at_a_terminal(
        ["run", agent, "Please run\n```bash\necho ran | tr a-z A-Z\n```", "--data", str(running.data)],
        {"May it?": "y\n"},
    )
    assert "asks to run bash echo ran" in said
    assert "RAN" in said


def test_as_json_every_line_is_an_event(running: ServerProcess, agent: str) -> None:
    done = freehold("run", agent, "Hello there.", "--json", "--data", running.data)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["type"] == "user.message"
    assert events[-1]["type"] == "session.status_idle"


def test_what_is_not_there_is_named(running: ServerProcess, tmp_path: Path) -> None:
    data = ["--data", str(running.data)]
    assert 'no agent named "nobody"' in freehold("run", "nobody", "x", *data).stderr
    assert "no such file: none.csv" in freehold("run", "clerk", "x", "--file", "none.csv", *data).stderr
    (tmp_path / "bad.yaml").write_text("- a list", "utf-8")
    assert "must be a mapping" in freehold("agents", "create", tmp_path / "bad.yaml", *data).stderr
    (tmp_path / "wrong.yaml").write_text("name: x\nmodel: claude-sonnet-5-5\ncolour: red", "utf-8")
    assert "colour" in freehold("agents", "create", tmp_path / "wrong.yaml", *data).stderr


def test_a_new_version_is_made_from_a_file(running: ServerProcess, tmp_path: Path) -> None:
    data = ["--data", str(running.data)]
    (tmp_path / "a.yaml").write_text("name: versions\nmodel: claude-haiku-5-5", "utf-8")
    made = freehold("agents", "create", tmp_path / "a.yaml", *data).stdout.strip()
    (tmp_path / "a.yaml").write_text("name: versions\nmodel: claude-sonnet-5-5", "utf-8")
    assert freehold("agents", "update", made, tmp_path / "a.yaml", *data).stdout == f"{made} is at version 2.\n"
    assert json.loads(freehold("agents", "show", made, *data).stdout)["model"]["id"] == "claude-sonnet-5-5"
    assert freehold("agents", "archive", made, *data).returncode == 0


def test_a_chat_streams_calls_own_functions_and_goes_on_from_its_history(
    running: ServerProcess, tmp_path: Path, till: Path
) -> None:
    data = ["--data", str(running.data)]
    (tmp_path / "shop.py").write_text(TOOLS, "utf-8")
    (tmp_path / "prices.py").write_text('PRICES = {"ink": "7 yuan"}', "utf-8")
    history = tmp_path / "history.jsonl"
    asked = 'Please get the price of the product "ink".'
    first = freehold("chat", asked, "--tools", tmp_path / "shop.py", "--history", history, *data)
    assert first.returncode == 0, first.stderr
    assert 'calls get_price {"product": "ink"}' in first.stdout
    assert "7 yuan" in first.stdout
    roles = [json.loads(line)["role"] for line in history.read_text("utf-8").splitlines()]
    assert roles == ["user", "assistant", "user", "assistant"]

    second = freehold("chat", "And now?", "--history", history, "--file", till, "--json", *data)
    answer = json.loads(second.stdout)
    assert answer["usage"]["input_tokens"] > 50, "what was said before goes along"
    kept = history.read_text("utf-8").splitlines()
    assert len(kept) == 6
    assert "ink,7" in kept[4]


def test_a_chat_is_a_conversation_line_by_line(running: ServerProcess, tmp_path: Path) -> None:
    typed = "hello\n/model claude-haiku-5-5\n/file none.png\nhello again\n/usage\n/quit\nnever sent\n"
    done = subprocess.run(
        [sys.executable, "-m", "freehold", "chat", "--data", str(running.data)],
        input=typed, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "none.png cannot be read" in done.stderr
    assert "4 messages" in done.stdout


def test_what_a_chat_refuses_is_one_line(running: ServerProcess, tmp_path: Path) -> None:
    data = ["--data", str(running.data)]
    assert "answered 404: model: nope" in freehold("chat", "hi", "--model", "nope", *data).stderr
    (tmp_path / "h").write_text("no json", "utf-8")
    assert "is no conversation" in freehold("chat", "hi", "--history", tmp_path / "h", *data).stderr
    (tmp_path / "t.py").write_text("1 / 0", "utf-8")
    assert "ZeroDivisionError" in freehold("chat", "hi", "--tools", tmp_path / "t.py", *data).stderr
    (tmp_path / "blob").write_bytes(b"\xff\xfe\x00")
    assert "no UTF-8 text" in freehold("chat", "hi", "--file", tmp_path / "blob", *data).stderr


def _at_a_terminal(arguments: list[str], answers: dict[str, str], within_s: float = 60.0) -> str:
    """What the command prints on a terminal, where each question of `answers` is answered once."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "freehold", *arguments], stdin=follower, stdout=follower, stderr=follower, close_fds=True
    )
    os.close(follower)
    said, waiting, ends = "", dict(answers), time.monotonic() + within_s
    while time.monotonic() < ends:
        if not select.select([leader], [], [], 1.0)[0]:
            continue
        try:
            piece = os.read(leader, 4096)
        except OSError:  # the other side is gone
            break
        said += piece.decode("utf-8", "replace")
        for question in [one for one in waiting if one in said]:
            os.write(leader, waiting.pop(question).encode())
    os.close(leader)
    process.wait(timeout=60)
    return said
