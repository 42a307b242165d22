"""The watch over the disk: by itself, and over a real box that writes as fast as it can."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from freehold.environments import quota
from freehold.environments.base import Limits
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.disk import Watched, judge, notice, used_bytes
from freehold.environments.workdirs import Workdir
from tests.environments.live import agent, spec, text

_FEW_LOOKS_S = 0.3
"""On a machine that is busy with other tests."""


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


def again(watched: Watched) -> str | None:
    """Look as if nobody had for long."""
    watched.counted_at_s = -1e9
    return judge(watched) if notice(watched) else None


def test_a_box_that_takes_too_much_is_frozen_and_told_once_until_it_grows(workdir: Workdir) -> None:
    box = Box()
    watched = Watched(box, box, workdir, most_bytes=1 << 20)
    assert again(watched) is None
    assert box.done == ["thawed"], "who may have room is not stopped for the counting"
    box.done.clear()
    fill(workdir, "a", 2 << 20)
    why = again(watched)
    assert why is not None
    assert "delete files" in why
    assert box.done == ["frozen"], "it stands still until it is told"
    assert again(watched) is None
    fill(workdir, "b", 64 << 10)
    assert again(watched) is None, "so much may have been written before all had ended"
    fill(workdir, "c", 1 << 20)
    assert again(watched) is not None


def test_who_has_made_room_may_be_told_again(workdir: Workdir) -> None:
    box = Box()
    watched = Watched(box, box, workdir, most_bytes=1 << 20)
    for _ in range(2):
        fill(workdir, "a", 2 << 20)
        assert again(watched) is not None
        (workdir.workspace / "a").unlink()
        assert again(watched) is None


def test_room_that_others_make_meanwhile_hides_nothing(workdir: Workdir) -> None:
    box = Box()
    watched = Watched(box, box, workdir, most_bytes=1 << 20)
    assert again(watched) is None
    watched.most_free_bytes += 1 << 30  # others made room, and it was used up since
    assert watched.room_bytes < 0
    assert notice(watched)
    assert judge(watched) is None
    assert box.done[-2:] == ["frozen", "thawed"]


def test_who_takes_long_to_count_is_counted_rarely_but_for_a_margin(workdir: Workdir) -> None:
    box = Box()
    watched = Watched(box, box, workdir, most_bytes=1 << 20)
    assert again(watched) is None
    watched.counting_s = 3600.0
    watched.most_free_bytes += 16 << 20
    assert not notice(watched)
    watched.most_free_bytes += 256 << 20
    assert notice(watched)


async def test_a_fast_writer_gets_little_beyond_its_limit(walled: Bubblewrap, root: Path) -> None:
    """Bounded by what is written in some looks: a tenth of a second apart at first, then closer and closer."""
    most = 256 << 20
    inmate = await agent(walled, spec(root, limits=Limits(disk_bytes=most)))
    write = """
        import os, time
        begun, piece = time.monotonic(), bytes(1 << 20)
        for number in range(1 << 20):
            fd = os.open(f"f{number // 16}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(fd, piece)
            os.close(fd)
            with open("fresh", "w") as speed:
                speed.write(str(int((number << 20) / (time.monotonic() - begun))))
            os.replace("fresh", "speed")
    """
    await inmate.call("write", file_path="write.py", content=textwrap.dedent(write))
    outcome = await inmate.call("bash", command="python3 write.py", timeout_ms=60_000)
    assert outcome.is_error
    workdir = Workdir(inmate.spec.workdir)
    over = used_bytes(workdir) - most
    speed = int((workdir.workspace / "speed").read_text())
    print(f"{over / 1e6:.0f} MB beyond the limit at {speed / 1e6:.0f} MB/s: {over / speed * 1000:.0f} ms of writing")
    if not quota.kept(root):
        assert "files take" in text(outcome)
    assert over < max(speed * _FEW_LOOKS_S, 1 << 20)
