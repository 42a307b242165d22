"""`freehold demo` as a user runs it: a real server, a real box, a real kill -9, told on 80 columns."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.cells import cell_len

from freehold.cli.demo import FILES
from freehold.cli.story.bill import OverBudget
from freehold.cli.story.tell import Plan, tell

LONGEST_S = 60.0
"""Of one run, here where other tests may run beside it; the bar on a quiet machine is 20 s."""


def run(folder: Path, *arguments: str, columns: int = 80) -> subprocess.CompletedProcess[str]:
    hidden = ("FREEHOLD_", "ANTHROPIC_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    return subprocess.run(
        [sys.executable, "-m", "freehold", "demo", *arguments],
        cwd=folder,
        env={**environment, "COLUMNS": str(columns)},
        capture_output=True,
        text=True,
        timeout=LONGEST_S * 2,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def told(folder: Path) -> str:
    began = time.monotonic()
    done = run(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert time.monotonic() - began <= LONGEST_S
    return done.stdout


def test_the_agent_worked_on_the_file_and_called_three_tools_in_the_same_turn(told: str) -> None:
    turn = told.split("\n4  ", 1)[1].split("\n5  ", 1)[0]
    assert "6000 rows read, 5 products" in turn
    uses = [turn.index(f"company.{name}") for name in ("find_user", "list_orders", "recent_activity")]
    assert max(uses) < turn.index("agent.mcp_tool_result"), "all three were asked for before any had answered"
    assert "黄磊" in turn, "the user of the company's own database"
    assert "# A year of orders: 6000 rows" in turn, "the file that the agent made was downloaded"


def test_the_second_turn_is_in_english_about_another_user(told: str) -> None:
    turn = told.split("\n5  ", 1)[1].split("\n6  ", 1)[0]
    assert turn.count('{"user_id": 1007}') == 3


def test_the_session_outlived_kill_9_with_its_files(told: str) -> None:
    turn = told.split("\n6  ", 1)[1].split("\n7  ", 1)[0]
    assert re.search(r"again after \d+\.\d s; all \d+ events of the log are there", turn)
    assert "summary.json" in turn
    assert "revenue_yuan" in turn, "what the analysis had written before the kill"


def test_the_bill_has_every_model_call(told: str) -> None:
    bill = told.split("\n7  ", 1)[1].split("\n8  ", 1)[0]
    haiku = re.search(r"claude-haiku-5-5 +(\d+) +(\d+) +\d+ +(\d+) +\S+ s +\$(\S+)", bill)
    sonnet = re.search(r"claude-sonnet-5-5 +(\d+) +(\d+) +\d+ +(\d+) +\S+ s +\$(\S+)", bill)
    assert haiku and sonnet, bill
    assert int(haiku[1]) == 3, "three turns of conversation"
    assert int(sonnet[1]) == 6, "three turns of the session, each one call for tools and one to report"
    assert float(haiku[4]) > 0
    assert float(sonnet[4]) > float(haiku[4])


def test_it_fits_80_columns_but_for_lines_to_be_copied_and_has_no_colour_when_piped(told: str) -> None:
    story, to_try = told.split("\n8  ", 1)
    to_be_read = [*story.splitlines(), *(line for line in to_try.splitlines() if not _is_command(line))]
    assert max(cell_len(line) for line in to_be_read) <= 80
    assert "\x1b" not in told


def _is_command(line: str) -> bool:
    """A line of the last chapter that is meant for the shell: it names files by paths that are as long as they are."""
    return line.startswith("      ") and not line.startswith(" " * 10)


def test_it_ends_with_the_address_and_three_things_to_try(told: str) -> None:
    end = told.split("\n8  ", 1)[1]
    assert re.search(r"http://127\.0\.0\.1:\d+", end)
    assert [line.strip()[0] for line in end.splitlines() if re.match(r"   \d ", line)] == ["1", "2", "3"]


def test_a_second_run_on_the_same_data_works_too(told: str, folder: Path) -> None:
    second = run(folder, "--data", "freehold-data/demo-1")
    assert second.returncode == 0, second.stdout + second.stderr


def test_a_server_that_cannot_start_is_told_with_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "freehold.db").write_bytes(b"this is no database, and never was one\n" * 100)
    done = run(tmp_path, "--data", "kept")
    assert done.returncode == 2
    assert "was not ready" in done.stderr
    assert "Traceback" not in done.stderr


def test_on_a_paid_upstream_it_stops_by_its_own_bill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "for-the-simulator")
    command = [sys.executable, "-m", "freehold", "simulate", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator, ExitStack() as at_end:
        at_end.callback(simulator.terminate)
        assert simulator.stdout is not None
        address = simulator.stdout.readline().split()[-1]
        with pytest.raises(OverBudget, match="the demo may spend"):
            tell(Plan(FILES, tmp_path, upstream=address, most_nanodollars=1))
    told = capsys.readouterr().out
    assert told.count("   you  ") == 1, "it stopped before the second question"
    assert re.search(r"all +1 ", told), "the bill is shown all the same"
