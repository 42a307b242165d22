"""Blobs in an object store, by `fsspec`; the folder beside the database only holds what is on its way, and copies.

A blob is in the store before any row refers to it, and a copy that is fetched is checked against its name. What a crash
leaves in the store is found by the sweep like any other unused blob. Imported only when `blobs_url` is set.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import fsspec

from freehold.errors import FreeholdError, Misconfigured
from freehold.library.blobs import READ_BYTES, Blobs, Incoming

COPY_KEPT_S = 86_400
"""How long a local copy that nobody uses stays."""


class ObjectBlobs(Blobs):
    """The blobs under `url` (`s3://bucket/prefix`, `gs://…`, `file:///…`), with `folder` for copies.

    `ensure` and `remove` speak to the store from within a transaction: an upload holds up other writers for the time of
    one short request.

    Raises:
        Misconfigured: there is no such kind of store, or its driver is not installed.
    """

    def __init__(self, folder: Path, url: str, *, floor_bytes: int = 256 << 20) -> None:
        super().__init__(folder, floor_bytes=floor_bytes)
        try:
            found: tuple[Any, str] = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise Misconfigured(f"blobs_url: {error}") from error
        self._fs, self._root = found[0], found[1].rstrip("/")

    async def local(self, sha256: str) -> Path:
        """See `Blobs`; fetches it where there is no copy."""
        path = self.path(sha256)
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)
            return path
        async with self.incoming() as incoming:
            await self._fetch(sha256, incoming)
        return path

    async def chunks(self, sha256: str) -> AsyncIterator[bytes]:
        """See `Blobs`."""
        await self.local(sha256)
        async for piece in super().chunks(sha256):
            yield piece

    def ensure(self, source: Path, sha256: str) -> None:
        """See `Blobs`. One that is there, and whole, is not sent again."""
        size = source.stat().st_size
        if self._size(sha256) != size:
            self._fs.makedirs(self._key(sha256).rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(source), self._key(sha256))
            self._fs.invalidate_cache()
            if self._size(sha256) != size:
                raise FreeholdError(f"The object store did not keep the blob {sha256} whole.")
        super().ensure(source, sha256)

    def remove(self, sha256: str) -> None:
        """See `Blobs`."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._key(sha256))
        super().remove(sha256)

    def all(self) -> Iterator[str]:
        """See `Blobs`."""
        self._fs.invalidate_cache()
        for key in self._fs.find(self._root):
            yield str(key).rpartition("/")[2]

    def sweep_incoming(self) -> int:
        """See `Blobs`. Old copies go too."""
        oldest_s = time.time() - COPY_KEPT_S
        for sha256 in super().all():
            with contextlib.suppress(FileNotFoundError):
                if self.path(sha256).stat().st_mtime < oldest_s:
                    super().remove(sha256)
        return super().sweep_incoming()

    async def _fetch(self, sha256: str, incoming: Incoming) -> None:
        """Raises `FileNotFoundError`, and `FreeholdError` for what is not what its name says."""
        file = await asyncio.to_thread(self._fs.open, self._key(sha256), "rb")
        try:
            digest = hashlib.sha256()
            while piece := await asyncio.to_thread(file.read, READ_BYTES):
                digest.update(piece)
                await incoming.write(piece)
        finally:
            await asyncio.to_thread(file.close)
        if digest.hexdigest() != sha256:
            raise FreeholdError(f"The object store has other bytes under {sha256} than it was given.")
        await incoming.copy(sha256)

    def _size(self, sha256: str) -> int | None:
        try:
            return int(self._fs.size(self._key(sha256)))
        except FileNotFoundError:
            return None

    def _key(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"
