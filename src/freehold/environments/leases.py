"""One box per workdir: a lock that lives as long as the box, and the end of an older owner's box.

The lock file's descriptor is inherited by the box's own processes, so a server that was killed cannot leave a box
behind unnoticed. This module does not know bubblewrap.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
from pathlib import Path

from freehold.environments.base import BoxFailed, Fenced
from freehold.environments.workdirs import Workdir

_PATIENCE_S = 5.0
_STEP_S = 0.02


class BoxLease:
    """Held from before the box starts until all of it is gone."""

    def __init__(self, workdir: Workdir, fd: int) -> None:
        self._workdir = workdir
        self.fd = fd

    def record(self, pid: int, epoch: int, **more: object) -> None:
        """Say who holds it, so that a newer owner can end this box. `more`: what else is remembered of it."""
        holder = {"pid": pid, "started": _started(pid), "epoch": epoch}
        (self._workdir.path / "holder.json").write_text(json.dumps(holder), "utf-8")
        self._workdir.remember(epoch=epoch, **more)

    def release(self) -> None:
        """The box is gone."""
        os.close(self.fd)


async def lease(workdir: Workdir, epoch: int) -> BoxLease:
    """Take the workdir for a new box.

    Raises:
        Fenced: a newer epoch has had it.
        BoxFailed: another box of the same epoch holds it and does not let go.
    """
    seen = workdir.meta().get("epoch", epoch)
    if isinstance(seen, int) and seen > epoch:
        raise Fenced(f"{workdir.path.name} was taken by epoch {seen}; this is {epoch}")
    workdir.make()
    fd = os.open(workdir.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await _lock(fd, workdir.path / "holder.json", epoch)
    except BaseException:
        os.close(fd)
        raise
    return BoxLease(workdir, fd)


async def _lock(fd: int, holder: Path, epoch: int) -> None:
    for step in range(int(_PATIENCE_S / _STEP_S)):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if step == 0:
                _end_older(holder, epoch)
            await asyncio.sleep(_STEP_S)
    raise BoxFailed(f"another box holds {holder.parent} and did not end within {_PATIENCE_S:g} s")


def _end_older(holder: Path, epoch: int) -> None:
    """Kill the box of an owner that was superseded; its server may be alive and not know yet."""
    try:
        found = json.loads(holder.read_text("utf-8"))
        pid, started, older = int(found["pid"]), found["started"], int(found["epoch"]) < epoch
    except (OSError, ValueError, KeyError, TypeError):
        return
    if older and started == _started(pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def _started(pid: int) -> int:
    """When that process was started, in the kernel's ticks; 0 when there is none. Tells a reused number."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return 0
