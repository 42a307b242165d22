"""Memories between the SDK's folder and the box's: nothing that an agent plants leads anywhere or stops the rest."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from freehold.library.tree import Tree
from freehold.store.memories import MOST_MEMORIES
from freehold.worker.memories import Mirror

MARK = ".anthropic-memory-store"


@dataclass
class Both:
    """`own` is what the SDK keeps in step with the server, `shown` what the agent writes to."""

    own: Path
    shown: Path
    mirror: Mirror


@pytest.fixture
def both(tmp_path: Path) -> Both:
    own, shown = tmp_path / "own", tmp_path / "shown"
    (own / "notes").mkdir(parents=True)
    (own / MARK).write_text("version 1\n")
    (own / "colour.md").write_text("green")
    (own / "notes" / "sky.md").write_text("blue")
    mirror = Mirror(Tree(own), Tree(shown))
    mirror.make()
    mirror.show()
    return Both(own, shown, mirror)


def files(folder: Path) -> dict[str, str]:
    """The memories in a folder, without what the SDK keeps there for itself."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in found.items() if name != MARK}


def test_what_either_side_changed_is_on_both(both: Both) -> None:
    assert files(both.shown) == {"colour.md": "green", "notes/sky.md": "blue"}
    (both.shown / "colour.md").write_text("red")
    (both.shown / "notes" / "sky.md").unlink()
    (both.shown / "deep").mkdir()
    (both.shown / "deep" / "new.md").write_text("new")
    both.mirror.take()
    assert files(both.own) == {"colour.md": "red", "deep/new.md": "new"}
    (both.own / "colour.md").write_text("white")
    (both.own / "deep" / "new.md").unlink()
    both.mirror.show()
    assert files(both.shown) == {"colour.md": "white"}


def test_a_link_that_the_agent_plants_is_neither_read_nor_written_through(both: Both, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "sky.md").write_text("the host's")
    (both.shown / "colour.md").unlink()
    (both.shown / "colour.md").symlink_to(outside / "sky.md")
    (both.shown / "notes" / "sky.md").unlink()
    (both.shown / "notes").rmdir()
    (both.shown / "notes").symlink_to(outside)
    (both.shown / "mine.md").write_text("mine")
    (both.shown / MARK).write_text("version 1\nanother store")
    both.mirror.take()
    assert (both.own / MARK).read_text() == "version 1\n", "the SDK would trust the folder no more"
    assert files(both.own) == {"colour.md": "green", "notes/sky.md": "blue", "mine.md": "mine"}
    (both.own / "notes" / "sky.md").write_text("grey")
    (both.own / "notes" / "sea.md").write_text("green")
    (both.own / "mine.md").write_text("yours")
    both.mirror.show()
    assert (both.shown / "mine.md").read_text() == "yours", "the others went on"
    assert files(outside) == {"sky.md": "the host's"}


def test_a_memory_that_becomes_a_folder_and_a_folder_that_becomes_a_memory_are_carried(both: Both) -> None:
    (both.shown / "colour.md").unlink()
    (both.shown / "colour.md").mkdir()
    (both.shown / "colour.md" / "x.md").write_text("x")
    (both.shown / "notes" / "sky.md").unlink()
    (both.shown / "notes").rmdir()
    (both.shown / "notes").write_text("a file now")
    both.mirror.take()
    assert files(both.own) == {"colour.md/x.md": "x", "notes": "a file now"}


def test_a_folder_in_the_way_of_a_new_memory_holds_up_that_one_alone_and_until_it_is_gone(both: Both) -> None:
    (both.own / "plan.md").write_text("first")
    (both.own / "other.md").write_text("other")
    (both.shown / "plan.md").mkdir()
    both.mirror.show()
    assert (both.shown / "other.md").read_text() == "other"
    both.mirror.take()
    assert (both.own / "plan.md").read_text() == "first", "it was never there, so nobody has deleted it"
    (both.shown / "plan.md").rmdir()
    both.mirror.show()
    assert (both.shown / "plan.md").read_text() == "first"


def test_what_cannot_be_looked_at_counts_as_there(both: Both) -> None:
    (both.shown / "notes").rename(both.shown / ".." / "away")
    (both.shown / "notes").symlink_to("/nowhere")
    (both.shown / "colour.md").unlink()
    os.mkfifo(both.shown / "colour.md")
    both.mirror.take()
    assert files(both.own) == {"colour.md": "green", "notes/sky.md": "blue"}


def test_of_too_many_files_none_counts_as_deleted(both: Both) -> None:
    (both.shown / "colour.md").unlink()
    for number in range(MOST_MEMORIES + 200):
        (both.shown / f"{number}.md").touch()
    both.mirror.take()
    assert {"colour.md", "notes/sky.md"} <= files(both.own).keys()


def test_a_folder_that_cannot_be_looked_through_changes_nothing(both: Both) -> None:
    both.shown.rename(both.shown.with_name("moved"))
    both.mirror.take()
    both.mirror.show()
    assert files(both.own) == {"colour.md": "green", "notes/sky.md": "blue"}
