"""What a session's files take on the disk, held by looking: a box that takes too much is frozen and its work ended.

For file systems without quotas (`quota.py`). Soft, but not by much: the nearer a box is to its limit, the more often a
thread looks at what the file system has left; when that says that it may be too much, the box is frozen before its
files are counted. So it overshoots by what it can write in some milliseconds; one with very many files, which take long
to count, by `_MARGIN_BYTES` more. A single file has a hard limit (`RLIMIT_FSIZE`), and so have the box's folders in
memory. Room cannot be taken without writing it: boxes have no `fallocate` (`seccomp.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from freehold.environments.channel import LiveBox
from freehold.environments.workdirs import Workdir

log = logging.getLogger(__name__)

_LOOK_EVERY_S, _LOOK_AT_MOST_EVERY_S = 0.1, 0.005
"""At what the file system has left, which is one system call; files are counted where that says that it may matter."""
_FASTEST_BYTES_S = 8e9
"""Nothing writes faster, into memory first: a box is looked at again before it could have used up its room."""
_COUNTERS = 2
"""Count files at the same time; meanwhile the looking goes on."""
_REST = 9
"""Times as long as counting took before the same files are counted again: at most a tenth of the time goes there."""
_MARGIN_BYTES = 128 << 20
"""So much is not waited for."""
_GRACE_BYTES, _GRACE_SHARE = 8 << 20, 1 / 8
"""A box that has grown by less since it was told is let be: that was written before all that wrote had ended."""
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
    counted_at_s: float = -1e9
    counting_s: float = 0.0
    """How long counting took."""
    counting: bool = False
    most_free_bytes: int = 0
    """Of the file system, since the files were counted."""
    free_bytes: int = 0
    """At the last look."""
    reported_bytes: int = 0

    @property
    def bound_bytes(self) -> int:
        """Beyond this it is stopped."""
        grace = int(min(_GRACE_BYTES, self.most_bytes * _GRACE_SHARE))
        return self.reported_bytes + grace if self.reported_bytes else self.most_bytes

    @property
    def room_bytes(self) -> int:
        """What it can still take, if all that the disk has lost since the counting went to it; negative: too much."""
        return self.bound_bytes - self.counted_bytes - (self.most_free_bytes - self.free_bytes)


class DiskWatch:
    """Looks after all boxes of this server, in a thread of its own: the event loop may be busy just then."""

    def __init__(self) -> None:
        self._boxes: set[Watched] = set()
        self._change = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def watch(self, box: LiveBox, process: _Freezes, workdir: Workdir, most_bytes: int) -> None:
        """From now on look after this one, until it ends."""
        watched = Watched(box, process, workdir, most_bytes)
        box.on_end.append(lambda: self._leave(watched))
        with self._change:
            self._boxes.add(watched)
            self._change.notify()
        if self._thread is None:
            loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, args=(loop,), name="freehold-disk", daemon=True)
            self._thread.start()

    def _leave(self, watched: Watched) -> None:
        with self._change:
            self._boxes.discard(watched)

    async def close(self) -> None:
        """Stop looking."""
        with self._change:
            self._closed = True
            self._change.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        pause_s = 0.0
        with ThreadPoolExecutor(_COUNTERS, "freehold-counting") as counters:
            while boxes := self._after(pause_s):
                for watched in boxes:
                    if not watched.counting and notice(watched):
                        watched.counting = True
                        counters.submit(_counted, watched, loop)
                pause_s = _pause_s(boxes)

    def _after(self, pause_s: float) -> Sequence[Watched]:
        """The boxes there are after that time, waited for until there are some; none when it is closed."""
        with self._change:
            self._change.wait_for(lambda: self._closed, pause_s)
            self._change.wait_for(lambda: self._closed or self._boxes)
            return () if self._closed else tuple(self._boxes)


def notice(watched: Watched) -> bool:
    """Whether its files are to be counted now; where they may have become too much, the box stands still until then."""
    watched.free_bytes = _free_bytes(watched.workdir.path)
    watched.most_free_bytes = max(watched.most_free_bytes, watched.free_bytes)
    since_s = time.monotonic() - watched.counted_at_s
    if watched.room_bytes < -_MARGIN_BYTES or (watched.room_bytes < 0 and since_s > _REST * watched.counting_s):
        with contextlib.suppress(OSError):  # it is going away
            watched.process.freeze()
        return True
    return since_s > _COUNT_AT_LEAST_EVERY_S


def judge(watched: Watched) -> str | None:
    """Count. Where it is too much, this says so, and the box stays as it is; else `None`, and it goes on.

    Blocks for as long as counting takes. Who was told once is stopped again only when it grows further.
    """
    over = False
    try:
        _count(watched)
        over = watched.counted_bytes > watched.bound_bytes
    finally:
        if not over:
            watched.process.thaw()
    if watched.counted_bytes <= watched.most_bytes:
        watched.reported_bytes = 0
    if not over:
        return None
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


def _counted(watched: Watched, loop: asyncio.AbstractEventLoop) -> None:
    """In a thread that counts."""
    try:
        if why := judge(watched):
            loop.call_soon_threadsafe(_stop, watched, why)
    except OSError as error:  # the box or its files went away meanwhile
        log.debug("%s cannot be looked at: %s", watched.box.session_id, error)
    finally:
        watched.counting = False


def _stop(watched: Watched, why: str) -> None:
    """In the event loop: its supervisor is told while it still stands, and ends all that wrote once it goes on."""
    log.warning("%s is stopped: %s", watched.box.session_id, why)
    watched.box.stop(why)
    with contextlib.suppress(OSError):  # it went away
        watched.process.thaw()


def _pause_s(boxes: Sequence[Watched]) -> float:
    """Until the next look: none of them can have used up its room by then, but for one that has little."""
    room_bytes = min(watched.room_bytes for watched in boxes)
    return min(_LOOK_EVERY_S, max(_LOOK_AT_MOST_EVERY_S, room_bytes / _FASTEST_BYTES_S))


def _count(watched: Watched) -> None:
    begun_s = time.monotonic()
    watched.free_bytes = watched.most_free_bytes = _free_bytes(watched.workdir.path)
    watched.counted_bytes = used_bytes(watched.workdir)
    watched.counted_at_s = time.monotonic()
    watched.counting_s = watched.counted_at_s - begun_s


def _free_bytes(path: Path) -> int:
    """Of the file system there, with its free inodes; 0 where there is none any more, which leads to a look."""
    try:
        found = os.statvfs(path)
    except OSError:
        return 0
    return found.f_bfree * found.f_frsize + found.f_ffree * _ENTRY_BYTES
