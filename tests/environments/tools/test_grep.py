"""The search of our own beside ripgrep's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from freehold.environments.tools.grep import OUTPUT_BYTES, by_hand, by_ripgrep
from freehold.environments.tools.results import ToolFailed

RIPGREP = shutil.which("rg") or ""
needs_ripgrep = pytest.mark.skipif(not RIPGREP and not os.environ.get("CI"), reason="ripgrep is not installed")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "a.txt").write_text("one fish\ntwo fish\nbird\n")
    (tmp_path / "b" / "c.txt").write_text("red fish\r\nblau\n")
    (tmp_path / "b" / "binary").write_bytes(b"fish\0fish\n")
    (tmp_path / ".hidden" / "d.txt").write_text("fish\n")
    (tmp_path / "link").symlink_to(tmp_path / "a.txt")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@needs_ripgrep
@pytest.mark.parametrize("pattern", ["fish", r"^\w+ fish$", "f[io]sh", "none", "(one|two)", r"\bbird\b"])
def test_both_find_the_same(tree: Path, pattern: str) -> None:
    hand = by_hand(pattern, str(tree))
    if pattern != r"^\w+ fish$":  # a carriage return is part of the line for ripgrep
        assert hand == by_ripgrep(RIPGREP, pattern, str(tree)).replace("\r", "")
    assert (hand == "no matches") == (pattern == "none")


@needs_ripgrep
def test_a_wrong_expression_is_told_in_both() -> None:
    for search in (by_hand, lambda pattern, root: by_ripgrep(RIPGREP, pattern, root)):
        with pytest.raises(ToolFailed):
            search("(", "/usr/include")


def test_a_single_file_is_named_too(tree: Path) -> None:
    assert by_hand("bird", str(tree / "a.txt")) == f"{tree}/a.txt:3:bird"


@pytest.mark.parametrize("search", ["hand", "ripgrep"])
def test_too_much_is_cut_at_a_line_and_says_so(tmp_path: Path, search: str) -> None:
    if search == "ripgrep" and not RIPGREP:
        pytest.skip("ripgrep is not installed")
    (tmp_path / "a").write_text("match this line\n" * 50_000)
    said = by_hand("match", str(tmp_path)) if search == "hand" else by_ripgrep(RIPGREP, "match", str(tmp_path))
    assert len(said) < OUTPUT_BYTES + 200
    assert said.endswith("narrow the pattern or the path]")
    assert said.splitlines()[-2].endswith(":match this line")
