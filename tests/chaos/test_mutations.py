"""The suite can fail: each rule of durability is taken out of a copy of the code, and tests must notice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutation:
    """One rule taken out, and the tests that hold it."""

    name: str
    file: str
    before: str
    after: str
    tests: str


MUTATIONS = [
    Mutation(
        "the fence",
        "store/session_log.py",
        'which.append(sessions.c.epoch == bindparam("mine", type_=number))',
        'which.append(bindparam("mine", type_=number).is_not(None))',
        "tests/agents/test_recovery.py::test_a_zombie_writes_nothing_and_its_tool_result_is_dropped",
    ),
    Mutation(
        "the unknown rule",
        "agents/toolwork.py",
        "return not self._log.started_before(call.id) or self._log.may_repeat(call.id)",
        "return True",
        "tests/agents/test_recovery.py::test_a_started_call_is_never_run_twice",
    ),
    Mutation(
        "the order of results",
        "agents/toolwork.py",
        "if task is None or not task.done():\n                break",
        "if task is None or not task.done():\n                continue",
        "tests/agents/test_loop.py::test_calls_run_side_by_side_and_results_keep_the_order_of_the_calls",
    ),
    Mutation(
        "the end of a span",
        "agents/loop.py",
        "await self._close_span(is_error=True)  # an owner before us died while the model answered",
        "pass",
        "tests/agents/test_recovery.py::test_a_model_request_that_was_cut_off_is_closed_and_made_again",
    ),
    Mutation(
        "the look at the log before idle",
        "agents/log.py",
        'if waits and idle.waiting == "this_turn":',
        "if False:",
        "tests/agents/test_clients.py::test_a_message_that_comes_during_the_last_reply_goes_on_with_the_turn",
    ),
    Mutation(
        "signatures kept",
        "agents/session.py",
        'content = [dict(block) for block in hidden["content"]]',
        'content = [dict(block) for block in hidden["content"] if block["type"] != "thinking"]',
        "tests/agents/test_loop.py::test_thinking_comes_back_signed_and_is_only_a_mark_in_the_log",
    ),
]


@pytest.mark.soak
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_rule_that_is_taken_out_is_missed(mutation: Mutation, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "src" / "freehold" / mutation.file
    code = file.read_text()
    assert code.count(mutation.before) == 1, f"{mutation.file} has changed; bring this mutation up to date"
    assert _outcome(tmp_path, mutation.tests) == 0
    file.write_text(code.replace(mutation.before, mutation.after))
    assert _outcome(tmp_path, mutation.tests) == 1


def _outcome(folder: Path, tests: str) -> int:
    """0: passed, 1: failed. Only on SQLite: the rules are the same code on both."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", "sqlite", "-p", "no:cacheprovider", tests]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=120).returncode
