"""Rows of memory stores. What is in them stands in `memories`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import NotFound
from freehold.store.engine import Store
from freehold.store.forgetting import forget
from freehold.store.keyset import page as page_of
from freehold.store.tables import memories, memory_stores, memory_versions


@dataclass(frozen=True, slots=True)
class MemoryStoreRow:
    """One memory store."""

    id: str
    workspace_id: str
    name: str
    description: str
    metadata: dict[str, str]
    created_us: int
    updated_us: int
    archived_us: int | None


class MemoryStoreRows:
    """Memory stores of all workspaces; every call names the one that it may see."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, row: MemoryStoreRow) -> MemoryStoreRow:
        """A new, empty store."""

        async def op(connection: AsyncConnection) -> MemoryStoreRow:
            await connection.execute(insert(memory_stores).values(**_stored(row)))
            return row

        return await self._store.write(op)

    async def get(self, workspace_id: str, store_id: str) -> MemoryStoreRow:
        """Raises `NotFound`."""
        async with self._store.read() as connection:
            return await read_memory_store(connection, workspace_id, store_id)

    async def update(
        self, workspace_id: str, store_id: str, now_us: int, change: Callable[[MemoryStoreRow], MemoryStoreRow]
    ) -> MemoryStoreRow:
        """Store what `change` makes of the row; it runs under the row's lock and may refuse. Raises `NotFound`."""

        async def op(connection: AsyncConnection) -> MemoryStoreRow:
            row = await read_memory_store(connection, workspace_id, store_id, lock=True)
            changed = change(row)
            if changed == row:
                return row
            changed = replace(changed, updated_us=now_us)
            await connection.execute(
                update(memory_stores).where(memory_stores.c.id == store_id).values(**_stored(changed))
            )
            return changed

        return await self._store.write(op)

    async def archive(self, workspace_id: str, store_id: str, now_us: int) -> MemoryStoreRow:
        """Archive it; once archived it stays as it was. Raises `NotFound`."""

        async def op(connection: AsyncConnection) -> MemoryStoreRow:
            row = await read_memory_store(connection, workspace_id, store_id, lock=True)
            if row.archived_us is not None:
                return row
            await connection.execute(
                update(memory_stores).where(memory_stores.c.id == store_id).values(archived_us=now_us)
            )
            return replace(row, archived_us=now_us)

        return await self._store.write(op)

    async def delete(self, workspace_id: str, store_id: str) -> None:
        """Delete it with its memories and their versions: the history first, a slice at a time. Raises `NotFound`."""
        await self.get(workspace_id, store_id)
        await forget(self._store, memory_versions.c.id, memory_versions.c.store_id == store_id, superseded())

        async def op(connection: AsyncConnection) -> None:
            await read_memory_store(connection, workspace_id, store_id, lock=True)
            for table in (memory_versions, memories):
                await connection.execute(delete(table).where(table.c.store_id == store_id))
            await connection.execute(delete(memory_stores).where(memory_stores.c.id == store_id))

        await self._store.write(op)

    async def page(
        self,
        workspace_id: str,
        *,
        created_gte_us: int | None,
        created_lte_us: int | None,
        include_archived: bool,
        after: Sequence[Any] | None,
        limit: int,
    ) -> list[MemoryStoreRow]:
        """Those made last first; one row more than `limit` if there is a next page."""
        query = select(memory_stores).where(memory_stores.c.workspace_id == workspace_id)
        if not include_archived:
            query = query.where(memory_stores.c.archived_us.is_(None))
        if created_gte_us is not None:
            query = query.where(memory_stores.c.created_us >= created_gte_us)
        if created_lte_us is not None:
            query = query.where(memory_stores.c.created_us <= created_lte_us)
        keys = (memory_stores.c.created_us, memory_stores.c.id)
        async with self._store.read() as connection:
            return [_row(row) for row in await connection.execute(page_of(query, keys, after=after, limit=limit))]


async def read_memory_store(
    connection: AsyncConnection, workspace_id: str, store_id: str, *, lock: bool = False
) -> MemoryStoreRow:
    """`MemoryStoreRows.get` within a transaction of one's own, locking the row against others if told to."""
    query = select(memory_stores).where(memory_stores.c.workspace_id == workspace_id, memory_stores.c.id == store_id)
    found = (await connection.execute(query.with_for_update() if lock else query)).first()
    if found is None:
        raise NotFound(f"There is no memory store {store_id!r}.")
    return _row(found)


def superseded() -> ColumnElement[bool]:
    """Versions of memories that are not what their memory says now."""
    present = (memories.c.id == memory_versions.c.memory_id) & (memories.c.version_id == memory_versions.c.id)
    return ~exists().where(present)


def _stored(row: MemoryStoreRow) -> dict[str, Any]:
    return {**asdict(row), "metadata": msgspec.json.encode(row.metadata).decode()}


def _row(row: Row[Any]) -> MemoryStoreRow:
    values = dict(row._mapping)
    return MemoryStoreRow(**{**values, "metadata": msgspec.json.decode(values["metadata"])})
