"""Fenced blocks and paths as people write them."""

from __future__ import annotations

import pytest

from freehold.simulator.reading.blocks import Fenced, fenced, paths, without_fences


def test_blocks_are_found_in_order_with_their_language() -> None:
    text = "a\n```python\nprint(1)\n```\nb\n~~~sh\nls\n~~~\nc ```inline``` d\n````md\n```\nx\n```\n````\n"
    assert fenced(text) == [Fenced("python", "print(1)\n"), Fenced("sh", "ls\n"), Fenced("md", "```\nx\n```\n")]
    assert without_fences(text).split() == ["a", "b", "c", "```inline```", "d"]


def test_a_block_that_is_never_closed_is_text() -> None:
    text = "a\n```python\nprint(1)\n"
    assert fenced(text) == []
    assert without_fences(text) == text


@pytest.mark.parametrize(
    ("block", "command"),
    [
        (Fenced("bash", "ls\n"), "ls"),
        (Fenced("console", "$ ls\n$ pwd\n"), "ls\npwd"),
        (Fenced("python", "print(1)\n"), "python3 - <<'PY'\nprint(1)\nPY"),
        (Fenced("py", "x = '''\nPY\n'''\n"), "python3 - <<'END_OF_PYTHON'\nx = '''\nPY\n'''\nEND_OF_PYTHON"),
    ],
)
def test_a_block_becomes_a_command(block: Fenced, command: str) -> None:
    assert block.command() == command


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Read /mnt/session/uploads/orders.csv, please.", ["/mnt/session/uploads/orders.csv"]),
        ("看看 src/main.py 和 README.md", ["src/main.py", "README.md"]),
        ("see https://example.com/a/b.html", []),
        ("it is 3/4 and/or 24/7", []),
        ("~/notes.txt ./a/b ../c/d.json", ["~/notes.txt", "./a/b", "../c/d.json"]),
        ("mail me at ada@example.com/x", []),
    ],
)
def test_paths_are_found_and_addresses_are_not(text: str, found: list[str]) -> None:
    assert paths(text) == found
