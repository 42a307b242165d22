"""Rows of files. Does not know where the bytes are, or HTTP."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Row, Select, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import NotFound
from freehold.store.blobs import live, share_blob
from freehold.store.engine import Store
from freehold.store.forgetting import forget
from freehold.store.keyset import page as page_of
from freehold.store.tables import files


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file. `sha256` is the name of its blob; `scope_id` the session whose output or copy it is."""

    id: str
    workspace_id: str
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str
    downloadable: bool
    scope_id: str | None
    created_us: int
    expires_us: int | None

    def expired(self, now_us: int) -> bool:
        """Its bytes are gone for good; what is known of it stays for a while."""
        return self.expires_us is not None and self.expires_us <= now_us


class FileRows:
    """Files of all workspaces; every call names the one that it may see."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, row: FileRow, *, ensure_blob: Callable[[], None], admit: Callable[[int], None]) -> FileRow:
        """Insert. In the same transaction `admit` hears what the workspace holds already (bytes) and may refuse, and
        `ensure_blob` puts the blob back if a sweep has just removed it."""

        async def op(connection: AsyncConnection) -> FileRow:
            await share_blob(connection, row.sha256)
            admit(await _used_bytes(connection, row.workspace_id, row.created_us))
            ensure_blob()
            await connection.execute(insert(files).values(**asdict(row)))
            return row

        return await self._store.write(op)

    async def copy(self, workspace_id: str, file_id: str, change: Callable[[FileRow], FileRow]) -> FileRow:
        """Insert what `change` makes of a file; both share the blob. Raises `NotFound`."""

        async def op(connection: AsyncConnection) -> FileRow:
            source = await read_file(connection, workspace_id, file_id)
            await share_blob(connection, source.sha256)
            row = change(await read_file(connection, workspace_id, file_id))
            await connection.execute(insert(files).values(**asdict(row)))
            return row

        return await self._store.write(op)

    async def replace_output(self, row: FileRow, *, ensure_blob: Callable[[], None]) -> FileRow:
        """Insert an output of a session instead of the one of the same name; the same bytes keep the row they have."""

        async def op(connection: AsyncConnection) -> FileRow:
            await share_blob(connection, row.sha256)
            ensure_blob()
            same = (files.c.scope_id == row.scope_id, files.c.filename == row.filename, files.c.downloadable)
            found = (await connection.execute(select(files).where(*same))).first()
            if found is not None and found.sha256 == row.sha256:
                return _row(found)
            await connection.execute(delete(files).where(*same))
            await connection.execute(insert(files).values(**asdict(row)))
            return row

        return await self._store.write(op)

    async def get(self, workspace_id: str, file_id: str) -> FileRow:
        """Raises `NotFound`."""
        async with self._store.read() as connection:
            return await read_file(connection, workspace_id, file_id)

    async def delete(self, workspace_id: str, file_id: str) -> FileRow:
        """Delete the row and give it. Raises `NotFound`."""

        async def op(connection: AsyncConnection) -> FileRow:
            row = await read_file(connection, workspace_id, file_id)
            await connection.execute(delete(files).where(files.c.id == file_id))
            return row

        return await self._store.write(op)

    async def delete_scope(self, workspace_id: str, scope_id: str) -> set[str]:
        """Delete every file of a session, a slice at a time; gives the names of their blobs."""
        mine = (files.c.workspace_id == workspace_id, files.c.scope_id == scope_id)
        async with self._store.read() as connection:
            blobs = set((await connection.execute(select(files.c.sha256).where(*mine).distinct())).scalars())
        await forget(self._store, files.c.id, *mine)
        return blobs

    async def page(
        self,
        workspace_id: str,
        *,
        scope_id: str | None,
        after: Sequence[Any] | None,
        limit: int,
        newest_first: bool = True,
    ) -> list[FileRow]:
        """By time of making; one row more than `limit` if there is a next page."""
        query = select(files).where(files.c.workspace_id == workspace_id)
        if scope_id is not None:
            query = query.where(files.c.scope_id == scope_id)
        keys = (files.c.created_us, files.c.id)
        return await self._rows(page_of(query, keys, after=after, limit=limit, descending=newest_first))

    async def some(self, workspace_id: str, ids: Collection[str]) -> list[FileRow]:
        """Those of `ids` that there are, newest first."""
        query = select(files).where(files.c.workspace_id == workspace_id, files.c.id.in_(ids))
        return await self._rows(query.order_by(files.c.created_us.desc(), files.c.id.desc()))

    async def used_bytes(self, workspace_id: str, now_us: int) -> int:
        """The sizes of the workspace's files together, those expired left out."""
        async with self._store.read() as connection:
            return await _used_bytes(connection, workspace_id, now_us)

    async def delete_expired(self, before_us: int) -> int:
        """Delete rows that expired before then, a slice at a time; gives their number."""
        return await forget(self._store, files.c.id, files.c.expires_us < before_us)

    async def _rows(self, query: Select[Any]) -> list[FileRow]:
        async with self._store.read() as connection:
            return [_row(row) for row in await connection.execute(query)]


async def read_file(connection: AsyncConnection, workspace_id: str, file_id: str) -> FileRow:
    """`FileRows.get` within a transaction of one's own."""
    query = select(files).where(files.c.workspace_id == workspace_id, files.c.id == file_id)
    found = (await connection.execute(query)).first()
    if found is None:
        raise NotFound(f"There is no file {file_id!r}.")
    return _row(found)


async def _used_bytes(connection: AsyncConnection, workspace_id: str, now_us: int) -> int:
    query = select(func.coalesce(func.sum(files.c.size_bytes), 0)).where(
        files.c.workspace_id == workspace_id, live(now_us)
    )
    return int((await connection.execute(query)).scalar_one())


def _row(row: Row[Any]) -> FileRow:
    return FileRow(**row._mapping)
