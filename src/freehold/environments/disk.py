"""What a session's files take on the disk, held by looking: a box that takes too much is frozen and its work ended.

Soft: bubblewrap has no quota, so a box can overshoot by what it writes in a tenth of a second, and while the files of
it are counted. A single file has a hard limit (`RLIMIT_FSIZE`), and so have the box's folders in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from freehold.environments.workdirs import Workdir

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
"""At what the file system has left, which is one system call; files are counted where that says that it may matter."""
_REST = 9
"""Times as long as counting took before the same files are counted again: at most a tenth of the time goes there."""
_ENTRY_BYTES = 256
"""An inode and a name: a million empty files are not nothing."""
_COUNT_AT_LEAST_EVERY_S = 60.0


class _Stops(Protocol):
    session_id: str

    def stop(self, why: str) -> None: ...


class _Freezes(Protocol):
    def freeze(self) -> bool: ...

    def thaw(self) -> None: ...


@dataclass(eq=False, slots=True)
class Watched:
    """One box: how to stop it, where its files are, and what they may take."""

    box: _Stops
    process: _Freezes
    workdir: Workdir
    most_bytes: int
    counted_bytes: int = 0
    free_bytes: int = 0
    """Of the file system, when the files were counted."""
    counted_at_s: float = -1e9
    counting_s: float = 0.0
    """How long counting took."""
    reported_bytes: int = 0


class DiskWatch:
    """Looks after all boxes of this server, in one task that runs while there are any."""

    def __init__(self, every_s: float = LOOK_EVERY_S) -> None:
        self._every_s = every_s
        self._boxes: set[Watched] = set()
        self._task: asyncio.Task[None] | None = None

    def join(self, watched: Watched) -> None:
        """From now on look after this one."""
        self._boxes.add(watched)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="disk watch")

    def leave(self, watched: Watched) -> None:
        """It is gone."""
        self._boxes.discard(watched)

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while self._boxes:
            free: dict[Path, int] = {}
            for watched in list(self._boxes):
                beside = watched.workdir.path.parent
                if beside not in free:
                    free[beside] = _free_bytes(beside)
                if _may_be_over(watched, free[beside]):
                    await self._look(watched)
            await asyncio.sleep(self._every_s)

    async def _look(self, watched: Watched) -> None:
        try:
            why = await asyncio.to_thread(look, watched)
            if why is not None:
                log.warning("%s is stopped: %s", watched.box.session_id, why)
                watched.box.stop(why)
                await asyncio.to_thread(watched.process.thaw)
        except OSError as error:  # the box or its files went away meanwhile
            log.debug("%s cannot be looked at: %s", watched.box.session_id, error)


def look(watched: Watched) -> str | None:
    """Count where it may have become too much. Where it has, the box is frozen, and this says why; else `None`.

    Blocks for as long as counting takes. Who was told once is stopped again only when it grows further.
    """
    if _may_be_over(watched, _free_bytes(watched.workdir.path)):
        _count(watched)
    if watched.counted_bytes <= watched.most_bytes:
        watched.reported_bytes = 0
        return None
    if watched.counted_bytes <= watched.reported_bytes:
        return None
    watched.process.freeze()
    _count(watched)
    watched.reported_bytes = watched.counted_bytes
    return (
        f"stopped: the session's files take {watched.counted_bytes} bytes and may take {watched.most_bytes}; "
        "everything that ran in the box was ended; delete files before going on"
    )


def used_bytes(workdir: Workdir) -> int:
    """What its files take on the disk: sparse ones what they do, linked ones once, and a little for each name."""
    seen: set[int] = set()
    total = 0
    for top in filter(os.path.isdir, (workdir.workspace, workdir.home, workdir.outputs, workdir.building)):
        for _, folders, files, fd in os.fwalk(top, follow_symlinks=False):
            for name in (*folders, *files):
                with contextlib.suppress(OSError):
                    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    total += _ENTRY_BYTES if found.st_ino in seen else _ENTRY_BYTES + found.st_blocks * 512
                    if found.st_nlink > 1:
                        seen.add(found.st_ino)
    return total


def _may_be_over(watched: Watched, free_bytes: int) -> bool:
    """Counting thousands of files is dear; what the whole disk lost since the last time bounds what one box took."""
    since_s = time.monotonic() - watched.counted_at_s
    if since_s > _COUNT_AT_LEAST_EVERY_S:
        return True
    lost = watched.free_bytes - free_bytes
    could_be = watched.counted_bytes + lost
    return could_be > max(watched.most_bytes, watched.reported_bytes) and since_s > _REST * watched.counting_s


def _count(watched: Watched) -> None:
    begun_s = time.monotonic()
    watched.free_bytes = _free_bytes(watched.workdir.path)
    watched.counted_bytes = used_bytes(watched.workdir)
    watched.counted_at_s = time.monotonic()
    watched.counting_s = watched.counted_at_s - begun_s


def _free_bytes(path: Path) -> int:
    """Of the file system there; 0 where there is none any more, which leads to a look that finds out."""
    try:
        found = os.statvfs(path)
    except OSError:
        return 0
    return found.f_bfree * found.f_frsize
