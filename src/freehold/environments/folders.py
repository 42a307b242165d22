"""Folders that are made once and used by many: each under a key, with a note beside it that says that it is whole.

Two that make the same at once wait for each other, in this server and in others on the same folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from freehold.clock import Clock
from freehold.environments.workdirs import make_folder


class LockedFolder:
    """Those under `root`. A note's modification time is when its folder was last used."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root = root
        self._clock = clock
        self._locks: dict[str, asyncio.Lock] = {}

    @contextlib.asynccontextmanager
    async def locked(self, key: str) -> AsyncIterator[None]:
        """While one is looked for or made."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            await asyncio.to_thread(make_folder, self.root, 0o711)
            fd = os.open(self.root / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                await asyncio.to_thread(fcntl.flock, fd, fcntl.LOCK_EX)
                yield
            finally:
                os.close(fd)

    def has(self, key: str) -> bool:
        """Whether it is there, whole."""
        return self._note(key).exists()

    def note(self, key: str) -> dict[str, Any]:
        """What was told of it when it was made, and its `size_bytes`."""
        found: dict[str, Any] = json.loads(self._note(key).read_text("utf-8"))
        return found

    def touch(self, key: str) -> None:
        """It is used now."""
        used_s = self._clock.now_us() / 1e6
        os.utime(self._note(key), (used_s, used_s))

    def keep(self, made: Path, key: str, told: Mapping[str, Any]) -> None:
        """Move a folder into its place in one step, then write the note."""
        place = self.root / key
        shutil.rmtree(place, ignore_errors=True)  # of a server that died between the two
        made.rename(place)
        size = sum(path.lstat().st_size for path in place.rglob("*"))
        fresh = self._note(key).with_suffix(".json~")
        fresh.write_text(json.dumps({**told, "size_bytes": size}), "utf-8")
        fresh.replace(self._note(key))

    def _note(self, key: str) -> Path:
        return self.root / f"{key}.json"
