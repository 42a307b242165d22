"""Which user a session's boxes run as: one for each session when the server is root, else the server's own.

With users of their own, one session cannot read another's files even where a mount would show them.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from freehold.environments.base import BoxFailed
from freehold.environments.workdirs import Workdir

FIRST_UID = 1_900_000_000
"""Between what systemd gives to containers and the end of what programs expect; nobody else assigns these."""
_SMALL_FIRST_UID = 20_000
"""Where only 65,536 users exist, as in a container with a user namespace."""
_COUNTER = ".next-user"
_WIDTH = 12


def user_of(workdir: Workdir) -> int | None:
    """The session's user, chosen at its first box and kept; `None` when the server is not root.

    Raises:
        BoxFailed: no user number is left, or this machine does not map any.
    """
    if os.geteuid() != 0:
        return None
    known = workdir.meta().get("uid")
    if isinstance(known, int):
        return known
    workdir.make()
    uid = _next(workdir.path.parent / _COUNTER)
    workdir.remember(uid=uid)
    return uid


def _next(counter: Path) -> int:
    first, last = _range(Path("/proc/self/uid_map").read_text("ascii"))
    with open(os.open(counter, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        uid = int(file.read() or first)
        if not first <= uid <= last:
            raise BoxFailed(f"{counter}: no user number is left between {first} and {last}")
        file.seek(0)
        file.write(f"{uid + 1:<{_WIDTH}}")  # over the old one: ext4 writes a file that was cut off out at once (4 ms)
    return uid


def _range(uid_map: str) -> tuple[int, int]:
    spans = [(int(start), int(start) + int(length) - 1) for start, _, length in map(str.split, uid_map.splitlines())]
    for first in (FIRST_UID, _SMALL_FIRST_UID):
        for start, end in spans:
            if start <= first and first + 1000 <= end:
                return first, min(end, 2**31 - 1)
    raise BoxFailed("this user namespace maps too few users to give each session its own; run the server without root")
