"""The processes of one box as the host sees them: started, joined to their limits, and ended until none is left."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess

from freehold.environments.base import BoxFailed
from freehold.environments.leases import BoxLease
from freehold.environments.limits import Group

_WORDS_BYTES = 4000
_END_S = 10


class BoxProcess:
    """`outer` is the process we started, `inner` the box's pid 1 by a descriptor that cannot mean another process."""

    def __init__(
        self, outer: subprocess.Popen[bytes], pid: int, group: Group, lease: BoxLease, *, gently: bool = False
    ) -> None:
        """`gently`: without a pid namespace the supervisor must end what it started, so it is given time to."""
        self._outer = outer
        self._inner = os.pidfd_open(pid)
        self._group = group
        self._lease = lease
        self._gently = gently

    def freeze(self) -> bool:
        """Stop it where it stands; False where that cannot be done."""
        return self._group.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self._group.thaw()

    def end(self) -> str:
        """Kill it, wait until every process of it is gone, and give what it said on standard error. Blocks."""
        if self._gently:
            select.select([self._inner], [], [], _END_S)  # its connection is closed: it is ending
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._inner, signal.SIGKILL)
        select.select([self._inner], [], [], _END_S)  # ends when the whole pid namespace has ended
        os.close(self._inner)
        words = last_words(self._outer)
        if self._group.killed_for_memory():
            words = f"{words} (the kernel ended processes of it for want of memory)".strip()
        self._group.remove()
        self._lease.release()
        return words


def last_words(process: subprocess.Popen[bytes]) -> str:
    """What it said on standard error, after its end."""
    process.kill()
    process.wait(_END_S)
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    said = process.stderr.read(_WORDS_BYTES) or b""
    process.stderr.close()
    return said.decode("utf-8", "replace").strip()


def pid_of_box(info: int, process: subprocess.Popen[bytes]) -> int:
    """The host's number of the box's pid 1, which bubblewrap tells on the descriptor `info`. Blocks for milliseconds.

    Raises:
        BoxFailed: bubblewrap ended before there was a box, with its words.
    """
    said = b""
    while piece := os.read(info, 4096):
        said += piece
    try:
        return int(json.loads(said)["child-pid"])
    except (ValueError, KeyError):
        raise BoxFailed(last_words(process) or "bubblewrap ended without a word") from None
