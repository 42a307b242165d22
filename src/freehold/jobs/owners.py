"""Which server processes on this machine are alive: each holds a lock on a file that dies with it, however it dies.

A lease alone says after thirty seconds that its owner is gone; the lock says so at once. It is a hint all the same:
whoever takes a session over raises its epoch, so being wrong costs work, never correctness.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from freehold.ids import NewId

_MOST_HOST_CHARS = 24


class Owners:
    """The lock files of one data folder, and our own among them. `close` lets ours go."""

    def __init__(self, folder: Path, ids: NewId) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        host = "".join(c if c.isalnum() or c == "-" else "-" for c in socket.gethostname())[:_MOST_HOST_CHARS]
        self.name = f"{host}.{ids('srv')}"
        """What stands in the rows of our sessions."""
        self._file = os.open(folder / self.name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def dead(self, owners: Iterable[str]) -> list[str]:
        """Those of `owners` that ran here and are gone. Of others nothing is known."""
        return [owner for owner in owners if owner != self.name and self._is_dead(owner)]

    def forget(self, owners: Iterable[str]) -> None:
        """Remove the files of dead owners that no session names any more."""
        for owner in owners:
            (self._folder / owner).unlink(missing_ok=True)

    def gone(self) -> list[str]:
        """Every dead owner that has left a file."""
        return self.dead(path.name for path in self._folder.iterdir())

    def close(self) -> None:
        """We end: let the lock go and remove the file."""
        (self._folder / self.name).unlink(missing_ok=True)
        os.close(self._file)

    def _is_dead(self, owner: str) -> bool:
        if "/" in owner or owner.startswith("."):
            return False
        try:
            file = os.open(self._folder / owner, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(file)
        return True
