"""Files: what a client uploads, what a session is given, and what its agent leaves as outputs.

The bytes are blobs on disk, the rest is rows. A file goes in two steps when it expires: first its bytes, thirty days
later what is known of it. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from freehold.clock import Clock
from freehold.config import setting
from freehold.errors import FreeholdError, InvalidRequest, NotFound, TooLarge
from freehold.ids import NewId
from freehold.library.blobs import READ_BYTES, Blobs, Incoming
from freehold.library.names import checked_name, mime_of, name_of
from freehold.library.sweeper import Sweeper
from freehold.store.files import FileRow, FileRows

FILE_LIMIT_BYTES = 500 * 1024 * 1024
"""Of one file (Claude API docs, Files, read 2026-11-23)."""
LEAST_EXPIRY_S = 3600
MOST_EXPIRY_S = 90 * 86_400
REMEMBERED_US = 30 * 86_400 * 1_000_000
"""How long an expired file is still listed, without its bytes."""


@dataclass(frozen=True, slots=True)
class FilesSettings:
    """Settings of files."""

    files_quota_bytes: int = setting(
        500_000_000_000, "What the files of one workspace may hold together.", unit="bytes"
    )
    disk_floor_bytes: int = setting(
        256 << 20, "Uploads are refused when less than this would stay free on the disk.", unit="bytes"
    )
    blobs_url: str | None = setting(
        None,
        "Where the bytes of files and skills are kept, if not in the data folder: an object store by its fsspec URL, "
        "as `s3://bucket/prefix`. Needs `freehold[objects]` and the store's own driver.",
    )


class Upload:
    """One upload: `write` its pieces, then `Files.create`."""

    def __init__(self, incoming: Incoming, workspace_id: str, admit: Callable[[int], None]) -> None:
        self.incoming = incoming
        self.workspace_id = workspace_id
        self._admit = admit

    async def write(self, piece: bytes) -> None:
        """Append. Raises `TooLarge` beyond 500 MB and `InvalidRequest` beyond the workspace's quota."""
        if self.incoming.size_bytes + len(piece) > FILE_LIMIT_BYTES:
            raise TooLarge(f"file: larger than the {FILE_LIMIT_BYTES:,} bytes that one file may have.")
        self._admit(len(piece))
        await self.incoming.write(piece)


class Files:
    """Files of all workspaces; every call names the one that it may see."""

    def __init__(
        self, rows: FileRows, blobs: Blobs, sweeper: Sweeper, *, clock: Clock, ids: NewId, settings: FilesSettings
    ) -> None:
        self.rows = rows
        self._blobs = blobs
        self._sweeper = sweeper
        self._clock = clock
        self._ids = ids
        self._quota_bytes = settings.files_quota_bytes
        self._inflight: Counter[str] = Counter()

    @asynccontextmanager
    async def uploading(self, workspace_id: str) -> AsyncIterator[Upload]:
        """Take an upload in. Its bytes count against the quota from the first; unless it becomes a file they go."""
        room_bytes = self._quota_bytes - await self.rows.used_bytes(workspace_id, self._clock.now_us())
        taken = 0

        def admit(size_bytes: int) -> None:
            nonlocal taken
            taken += size_bytes
            self._inflight[workspace_id] += size_bytes
            if self._inflight[workspace_id] > room_bytes:
                raise _over_quota()

        async with self._blobs.incoming() as incoming:
            try:
                yield Upload(incoming, workspace_id, admit)
            finally:
                self._inflight[workspace_id] -= taken

    async def create(
        self, upload: Upload, filename: str | None, content_type: str | None, *, expires_in_s: int | None
    ) -> FileRow:
        """Make the upload, whose bytes are all written, a file. `filename` and `content_type` are as they were sent.

        Raises:
            InvalidRequest: the name is not taken, the time to live is none, or the quota is used up.
        """
        now_us = self._clock.now_us()
        expires_us = None if expires_in_s is None else now_us + _checked_expiry(expires_in_s) * 1_000_000
        mime_type = mime_of(content_type, filename)
        name = name_of(filename, mime_type)
        sha256 = await upload.incoming.keep()
        row = FileRow(
            id=self._ids("file"),
            workspace_id=upload.workspace_id,
            filename=name,
            mime_type=mime_type,
            size_bytes=upload.incoming.size_bytes,
            sha256=sha256,
            downloadable=False,
            scope_id=None,
            created_us=now_us,
            expires_us=expires_us,
        )

        def admit(used_bytes: int) -> None:
            if used_bytes + row.size_bytes > self._quota_bytes:
                raise _over_quota()

        return await self.rows.add(row, ensure_blob=lambda: upload.incoming.ensure(sha256), admit=admit)

    async def open(self, workspace_id: str, file_id: str) -> tuple[FileRow, Path]:
        """A file and where its bytes are, to be read, never changed.

        Raises:
            NotFound: there is none, or its bytes have expired (`file_expired`).
        """
        row = await self.rows.get(workspace_id, file_id)
        self._refuse_expired(row)
        try:
            return row, await self._blobs.local(row.sha256)
        except FileNotFoundError as error:
            raise FreeholdError(f"The bytes of the file {file_id} are missing in the server's store.") from error

    async def download(self, workspace_id: str, file_id: str) -> tuple[FileRow, AsyncIterator[bytes]]:
        """The bytes of a file that may be downloaded. Raises as `open`, and `InvalidRequest` when it may not."""
        row = await self.rows.get(workspace_id, file_id)
        self._refuse_expired(row)
        if not row.downloadable:
            raise InvalidRequest(
                f"The file {file_id} was uploaded, and uploaded files cannot be downloaded; only what an agent made.",
                details={"error_code": "file_not_downloadable"},
            )
        await self.open(workspace_id, file_id)
        return row, self._blobs.chunks(row.sha256)

    async def delete(self, workspace_id: str, file_id: str) -> None:
        """Delete a file. Copies of it in sessions stay. Raises `NotFound`."""
        row = await self.rows.delete(workspace_id, file_id)
        await self._sweeper.remove_unused(row.sha256)

    async def copy_for_session(self, workspace_id: str, file_id: str, session_id: str) -> FileRow:
        """A copy of a file with an id of its own that belongs to the session; it lives on when the file goes.

        Raises:
            NotFound: there is none, or its bytes have expired.
        """
        now_us = self._clock.now_us()

        def change(source: FileRow) -> FileRow:
            self._refuse_expired(source)
            return replace(
                source,
                id=self._ids("file"),
                scope_id=session_id,
                downloadable=False,
                created_us=now_us,
                expires_us=None,
            )

        return await self.rows.copy(workspace_id, file_id, change)

    async def register_output(self, workspace_id: str, session_id: str, source: BinaryIO, name: str) -> FileRow:
        """Take a file that an agent made into the session's outputs; the same bytes under the same name stay one file.

        `source` was opened by the caller in a way that no link can lead elsewhere; it is read from where it stands.
        """
        checked_name(name)
        async with self._blobs.incoming() as incoming:
            while piece := await asyncio.to_thread(source.read, READ_BYTES):
                await incoming.write(piece)
            sha256 = await incoming.keep()
            row = FileRow(
                id=self._ids("file"),
                workspace_id=workspace_id,
                filename=name,
                mime_type=mime_of(None, name),
                size_bytes=incoming.size_bytes,
                sha256=sha256,
                downloadable=True,
                scope_id=session_id,
                created_us=self._clock.now_us(),
                expires_us=None,
            )
            return await self.rows.replace_output(row, ensure_blob=lambda: incoming.ensure(sha256))

    async def forget_session(self, workspace_id: str, session_id: str) -> None:
        """Delete every copy and output of a session that was deleted."""
        for sha256 in await self.rows.delete_scope(workspace_id, session_id):
            await self._sweeper.remove_unused(sha256)

    async def forget_expired(self) -> int:
        """Delete what is known of files that expired thirty days ago; gives their number."""
        return await self.rows.delete_expired(self._clock.now_us() - REMEMBERED_US)

    def _refuse_expired(self, row: FileRow) -> None:
        if row.expired(self._clock.now_us()):
            raise NotFound(
                f"The file {row.id} has expired; its bytes are gone.", details={"error_code": "file_expired"}
            )


def _checked_expiry(seconds: int) -> int:
    if not LEAST_EXPIRY_S <= seconds <= MOST_EXPIRY_S:
        raise InvalidRequest(
            f"expires_in_seconds: must be from {LEAST_EXPIRY_S} (an hour) to {MOST_EXPIRY_S} (ninety days)."
        )
    return seconds


def _over_quota() -> InvalidRequest:
    return InvalidRequest(
        "The files of this workspace would go beyond its quota (files_quota_bytes). Delete some first.",
        details={"error_code": "storage_quota_exceeded"},
    )
