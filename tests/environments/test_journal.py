"""Reading the journal, and what a supervisor says, with suspicion."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from freehold.environments import journal


def append(path: Path, *lines: bytes) -> None:
    fd = journal.open_to_append(path)
    for line in lines:
        os.write(fd, line)
    os.close(fd)


def line(key: str, said: str) -> bytes:
    entry = {"key": key, "epoch": 1, "content": [{"type": "text", "text": said}], "is_error": False}
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def test_an_outcome_is_found_by_its_key(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    append(path, line("sevt_1", "one"), line("sevt_10", "ten"))
    found = journal.find(path, "sevt_1")
    assert found is not None
    assert found.content[0]["text"] == "one"
    assert journal.find(path, "sevt_2") is None
    assert journal.find(tmp_path / "none", "sevt_1") is None


def test_a_line_cut_off_by_a_death_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    append(path, line("sevt_1", "one"), line("sevt_2", "two")[:-20])
    assert journal.find(path, "sevt_1") is not None
    assert journal.find(path, "sevt_2") is None


def test_a_large_journal_begins_anew_and_the_older_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    append(path, line("sevt_1", "one"))
    with open(path, "ab") as file:
        file.write(b"\n" * (17 << 20))
    append(path, line("sevt_2", "two"))
    assert path.stat().st_size < 1000
    assert journal.find(path, "sevt_1") is not None
    assert journal.find(path, "sevt_2") is not None


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"content": [], "is_error": False},
        {"content": "text", "is_error": False},
        {"content": [{"type": "text", "text": "x"}]},
        {"content": [{"type": "text", "text": 5}], "is_error": False},
        {"content": [{"type": "tool_use", "id": "x"}], "is_error": False},
        {"content": [{"type": "image", "source": {"type": "url", "url": "x"}}], "is_error": False},
        {"content": [None], "is_error": True},
    ],
)
def test_what_is_no_outcome_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a"):
        journal.outcome_of(message)


def test_an_outcome_can_always_be_stored() -> None:
    block = {"type": "text", "text": "caf\udce9", "cache_control": {"type": "ephemeral"}}
    found = journal.outcome_of({"content": [block, {"type": "text", "text": ""}], "is_error": True})
    assert found.content == ({"type": "text", "text": "caf?"}, {"type": "text", "text": "(no output)"})
    assert found.is_error
