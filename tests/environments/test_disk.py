"""The watch over the disk, without boxes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from freehold.environments.disk import Watched, look, used_bytes
from freehold.environments.workdirs import Workdir


class Box:
    """Notes what is done to it."""

    session_id = "sesn_1"

    def __init__(self) -> None:
        self.done: list[str] = []

    def stop(self, why: str) -> None:
        self.done.append(why)

    def freeze(self) -> bool:
        self.done.append("frozen")
        return True

    def thaw(self) -> None:
        self.done.append("thawed")


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    made = Workdir(tmp_path / "sesn_1")
    made.prepare(None)
    return made


def fill(workdir: Workdir, name: str, size: int) -> None:
    (workdir.workspace / name).write_bytes(os.urandom(size))
    os.sync()


def test_what_is_counted_is_what_the_disk_holds(workdir: Workdir) -> None:
    empty = used_bytes(workdir)
    fill(workdir, "a", 1 << 20)
    one = used_bytes(workdir)
    assert 1 << 20 <= one - empty < 1.1 * (1 << 20)
    os.link(workdir.workspace / "a", workdir.workspace / "b")
    with open(workdir.workspace / "sparse", "wb") as file:
        file.truncate(1 << 30)
    (workdir.home / "out").symlink_to("/usr")
    assert used_bytes(workdir) - one < 20_000


def test_a_box_that_takes_too_much_is_frozen_and_told_once_until_it_grows(workdir: Workdir) -> None:
    box = Box()
    watched = Watched(box, box, workdir, most_bytes=1 << 20)
    assert look(watched) is None
    fill(workdir, "a", 2 << 20)
    watched.counted_at_s = -1e9
    why = look(watched)
    assert why is not None
    assert "delete files" in why
    assert box.done == ["frozen"]
    watched.counted_at_s = -1e9
    assert look(watched) is None
    fill(workdir, "b", 1 << 20)
    watched.counted_at_s = -1e9
    assert look(watched) is not None


def test_who_has_made_room_may_be_told_again(workdir: Workdir) -> None:
    box = Box()
    watched = Watched(box, box, workdir, most_bytes=1 << 20)
    for _ in range(2):
        fill(workdir, "a", 2 << 20)
        watched.counted_at_s = -1e9
        assert look(watched) is not None
        (workdir.workspace / "a").unlink()
        watched.counted_at_s = -1e9
        assert look(watched) is None


def test_what_was_told_is_not_counted_again_until_the_disk_loses_more(workdir: Workdir) -> None:
    box = Box()
    watched = Watched(box, box, workdir, most_bytes=1 << 20)
    fill(workdir, "a", 2 << 20)
    assert look(watched) is not None
    counted_at_s = watched.counted_at_s
    watched.free_bytes -= 1 << 30  # as if others had made room meanwhile
    assert look(watched) is None
    assert watched.counted_at_s == counted_at_s
    watched.free_bytes += 2 << 30
    watched.counting_s = 3600.0
    assert look(watched) is None
    assert watched.counted_at_s == counted_at_s, "who takes long to count is counted rarely"
    watched.counting_s = 0.0
    assert look(watched) is None
    assert watched.counted_at_s > counted_at_s
