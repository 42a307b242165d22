"""Bytes on disk, named by their SHA-256: written once, shared by whoever has the same, never held in memory.

    blobs/3f/3fa9…       a blob, complete and on disk for good
    blobs/laid-out/…     skills unpacked for sessions; can be made anew at any time
    blobs/incoming/…     being written; locked by its writer, so that a dead writer's file is known by its free lock

Knows no files, workspaces or database. Which blobs are still needed is for the caller to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

from freehold.errors import Unavailable

_WRITE_BYTES = 1 << 20
"""Written, and hashed, in one go on a thread."""
_FLOOR_EVERY_BYTES = 16 << 20
"""How often the free space is looked at."""
READ_BYTES = 256 << 10


class Blobs:
    """The blobs under one folder. Several processes may share it.

    `floor_bytes` of the disk stay free: an upload that would go below is refused, so that the database keeps room.
    """

    def __init__(self, folder: Path, *, floor_bytes: int = 256 << 20) -> None:
        self.folder = folder
        self._incoming = folder / "incoming"
        self._floor_bytes = floor_bytes
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, sha256: str) -> Path:
        """Where that blob is, if it is there."""
        return self.folder / sha256[:2] / sha256

    async def local(self, sha256: str) -> Path:
        """The same for whoever reads it now. Raises `FileNotFoundError`."""
        path = self.path(sha256)
        if not path.exists():
            raise FileNotFoundError(path)
        return path

    def ensure(self, source: Path, sha256: str) -> None:
        """Put the file there, durably, unless it is. `source` is on the same disk and never changes again."""
        target = self.path(sha256)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.link(source, target)
            _fsync_folder(target.parent)

    def incoming(self) -> Incoming:
        """Begin to write a blob: `async with blobs.incoming() as incoming`."""
        return Incoming(self._incoming / secrets.token_hex(16), self._free, self)

    def scratch(self) -> IO[bytes]:
        """A file without a name on the same disk; whatever happens, it is gone when it is closed."""
        self._free()
        return tempfile.TemporaryFile(dir=self._incoming)

    async def chunks(self, sha256: str) -> AsyncIterator[bytes]:
        """The bytes of a blob. Raises `FileNotFoundError`."""
        file = await asyncio.to_thread(open, self.path(sha256), "rb")
        try:
            while piece := await asyncio.to_thread(file.read, READ_BYTES):
                yield piece
        finally:
            file.close()

    def remove(self, sha256: str) -> None:
        """Delete a blob, if it is there. Only when nothing refers to it."""
        self.path(sha256).unlink(missing_ok=True)

    def all(self) -> Iterator[str]:
        """Every blob's name."""
        for folder in sorted(self.folder.iterdir()):
            if len(folder.name) == 2 and folder.is_dir():
                yield from os.listdir(folder)

    def sweep_incoming(self) -> int:
        """Delete what dead writers left behind; gives their number."""
        return sum(_remove_if_dead(path) for path in list(self._incoming.iterdir()))

    def _free(self) -> None:
        status = os.statvfs(self.folder)
        if status.f_bavail * status.f_frsize < self._floor_bytes:
            raise Unavailable(
                "The server's disk is nearly full, so nothing more is taken in. Nothing was stored; free some space."
            )


class Incoming:
    """A blob being written. Leaving the context before `keep` forgets it."""

    def __init__(self, path: Path, free: Callable[[], None], blobs: Blobs) -> None:
        self._path = path
        self._free = free
        self._blobs = blobs
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._fd = -1
        self.size_bytes = 0

    async def __aenter__(self) -> Incoming:
        self._free()
        while self._fd < 0:
            fd = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                self._fd = fd
            else:
                os.close(fd)  # a sweep came between the two lines and took it for dead
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        self._path.unlink(missing_ok=True)

    async def write(self, data: bytes) -> None:
        """Append. Raises `OSError` or `Unavailable` when the disk is full."""
        before = self.size_bytes
        self.size_bytes += len(data)
        self._buffer += data
        if len(self._buffer) >= _WRITE_BYTES:
            await self._flush()
        if before // _FLOOR_EVERY_BYTES != self.size_bytes // _FLOOR_EVERY_BYTES:
            self._free()

    async def keep(self) -> str:
        """Make it a blob, durably, and give its name. Call `ensure` in the transaction that begins to refer to it."""
        await self._flush()
        await asyncio.to_thread(os.fsync, self._fd)
        sha256 = self._hash.hexdigest()
        await asyncio.to_thread(self.ensure, sha256)
        return sha256

    def ensure(self, sha256: str) -> None:
        """Put it there, durably, unless it is: again, if a sweep has just taken it for unused."""
        self._blobs.ensure(self._path, sha256)

    async def copy(self, sha256: str) -> None:
        """Make it the copy in the folder of a blob that is kept elsewhere."""
        await self._flush()
        await asyncio.to_thread(Blobs.ensure, self._blobs, self._path, sha256)

    async def _flush(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        if data:
            await asyncio.to_thread(self._append, data)

    def _append(self, data: bytes) -> None:
        self._hash.update(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def _fsync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove_if_dead(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(fd)
