"""A folder an agent writes to, used from outside: nothing planted in it leads a read or a write elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from freehold.library.tree import Found, Tree, may_hold


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "outside").mkdir()
    root = tmp_path / "root"
    root.mkdir()
    return root


def found(root: Path, **limits: int) -> dict[str, Found]:
    defaults = {"most_files": 100, "most_bytes": 1000, "most_depth": 5}
    return {file.path: file for file in Tree(root).files(**{**defaults, **limits})}


def test_files_are_read_and_written_and_empty_folders_go_with_their_last_file(root: Path) -> None:
    tree = Tree(root)
    tree.write("a/b/c.md", b"1")
    tree.write("a/b/c.md", b"2")
    tree.write("a/d", b"3")
    assert {path: file.data for path, file in found(root).items()} == {"a/b/c.md": b"2", "a/d": b"3"}
    tree.remove("a/b/c.md")
    tree.remove("a/b/c.md")
    assert sorted(str(p.relative_to(root)) for p in root.rglob("*")) == ["a", "a/d"]


def test_links_pipes_and_sockets_are_told_and_not_followed(root: Path) -> None:
    (root / "link").symlink_to(root.parent / "secret")
    (root / "folder").symlink_to(root.parent)
    os.mkfifo(root / "pipe")
    (root / "ok").write_text("fine")
    files = found(root)
    assert files["ok"].data == b"fine"
    for name in ("link", "folder", "pipe"):
        assert files[name].data is None and "link or a device" in (files[name].problem or "")


def test_a_write_or_removal_through_a_planted_link_is_refused(root: Path) -> None:
    (root / "notes").symlink_to(root.parent / "outside")
    with pytest.raises(OSError):
        Tree(root).write("notes/x", b"1")
    with pytest.raises(OSError):
        Tree(root).remove("notes/x")
    assert list((root.parent / "outside").iterdir()) == []
    (root / "file").symlink_to(root.parent / "secret")
    Tree(root).write("file", b"mine")
    assert (root.parent / "secret").read_text() == "secret", "the link was replaced, not followed"
    assert (root / "file").read_bytes() == b"mine" and not (root / "file").is_symlink()


def test_a_root_that_became_a_link_is_refused(root: Path) -> None:
    root.rmdir()
    root.symlink_to(root.parent / "outside")
    with pytest.raises(OSError):
        Tree(root).write("x", b"1")
    with pytest.raises(OSError):
        found(root)


def test_what_is_too_big_too_deep_or_too_much_is_told(root: Path) -> None:
    (root / "big").write_bytes(bytes(1001))
    (root / "a" / "b" / "c").mkdir(parents=True)
    (root / "a" / "b" / "c" / "deep").write_text("x")
    (root / "new\nline").write_text("x")
    files = found(root, most_depth=3)
    assert "larger" in (files["big"].problem or "")
    assert "deeply" in (files["a/b/c"].problem or "")
    assert "characters" in (files["'new\\nline'"].problem or "")
    for n in range(20):
        (root / f"f{n}").write_text("x")
    assert sum(file.data is not None for file in found(root, most_files=10).values()) <= 10
    assert "more than 10" in (found(root, most_files=10)[""].problem or "")


def test_below_what_was_not_read_there_may_be_anything() -> None:
    unread = {"notes", "a/b"}
    for path in ("notes/x", "notes/deep/x", "a/b/c"):
        assert may_hold(unread, path), path
    for path in ("notes", "note/x", "a/bc", "a/x", "x"):
        assert not may_hold(unread, path), path
    assert may_hold({""}, "x") and may_hold({""}, "a/b/c")


def test_a_write_where_a_folder_stands_is_refused_and_leaves_no_scratch(root: Path) -> None:
    (root / "a").mkdir()
    with pytest.raises(OSError):
        Tree(root).write("a", b"1")
    assert [p.name for p in root.iterdir()] == ["a"]
