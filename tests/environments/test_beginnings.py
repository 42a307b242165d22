"""Beginnings of boxes: there before they are needed, gone when nobody needs them."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from freehold.environments.base import BoxSpec, Limits
from freehold.environments.bubblewrap import Bubblewrap
from tests.environments.conftest import require_bubblewrap
from tests.environments.live import until
from tests.environments.test_bubblewrap import server

PATIENCE_S = 120


async def _waiting(wanted: int) -> list[int]:
    """The processes of this one that wait to become boxes, as soon as there are so many."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _waits(pid)]
            if len(found) == wanted:
                return found
            await asyncio.sleep(0.01)


def _waits(pid: int, server: int | None = None) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        parent = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return False
    return parent == (server or os.getpid()) and command[:2] == [b"/bin/sh", b"-c"] and command[3:4] == [b"begin"]


async def test_a_box_that_opens_takes_what_was_ready_and_another_is_made(root: Path) -> None:
    require_bubblewrap()
    boxes = Bubblewrap(root, warm=2)
    try:
        await boxes.open(BoxSpec("first", root / "first", epoch=1))
        ready = await _waiting(2)
        await boxes.open(BoxSpec("second", root / "second", epoch=1))
        after = await _waiting(2)
        assert len(set(ready) & set(after)) == 1
    finally:
        await boxes.close()
    assert await _waiting(0) == []


async def test_a_beginning_that_was_killed_is_not_taken(root: Path) -> None:
    require_bubblewrap()
    boxes = Bubblewrap(root, warm=1)
    try:
        await boxes.open(BoxSpec("first", root / "first", epoch=1))
        for pid in await _waiting(1):
            os.kill(pid, 9)
        await _waiting(0)
        box = await boxes.open(BoxSpec("second", root / "second", epoch=1))
        outcome = await box.call("bash", {"command": "echo here"}, key="k", epoch=1)
        assert outcome.content[0]["text"] == "here"
    finally:
        await boxes.close()


async def test_other_limits_get_a_beginning_of_their_own(root: Path) -> None:
    require_bubblewrap()
    boxes = Bubblewrap(root, warm=1)
    try:
        await boxes.open(BoxSpec("first", root / "first", epoch=1))
        ready = await _waiting(1)
        await boxes.open(BoxSpec("second", root / "second", epoch=1, limits=Limits(memory_bytes=256 << 20)))
        assert await _waiting(1) == ready
    finally:
        await boxes.close()


def test_a_killed_server_leaves_no_beginning(tmp_path: Path) -> None:
    require_bubblewrap()

    def waiting(parent: int) -> list[int]:
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _waits(pid, parent)]

    with server(tmp_path / "boxes", "echo begun") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        until(lambda: bool(waiting(process.pid)))
        (left,) = waiting(process.pid)
        process.send_signal(signal.SIGKILL)
    until(lambda: not _command(left))


def _command(pid: int) -> bytes:
    """Empty for a process that has ended, whether or not somebody has taken notice."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
