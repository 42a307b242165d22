"""Rows of the versions of memories: read, redacted, and forgotten after their time. Written in `memories`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import InvalidRequest, NotFound
from freehold.store.engine import Store
from freehold.store.forgetting import forget
from freehold.store.keyset import page as page_of
from freehold.store.memory_stores import read_memory_store, superseded
from freehold.store.tables import memories, memory_versions


@dataclass(frozen=True, slots=True)
class MemoryVersionRow:
    """One change of a memory. What is redacted is `None`; so is what a deletion has not, and unasked content."""

    id: str
    store_id: str
    memory_id: str
    operation: str
    path: str | None
    content: bytes | None
    content_sha256: str | None
    size_bytes: int | None
    actor_type: str
    actor_id: str
    created_us: int
    redacted_us: int | None
    redacted_by: str | None


@dataclass(frozen=True, slots=True)
class VersionFilter:
    """Which versions a list holds; `None` does not filter."""

    memory_id: str | None = None
    operation: str | None = None
    actor: tuple[str, str] | None = None
    created_gte_us: int | None = None
    created_lte_us: int | None = None


class MemoryVersionRows:
    """Versions of all workspaces; every call names the one that it may see."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, workspace_id: str, store_id: str, version_id: str) -> MemoryVersionRow:
        """With its content. Raises `NotFound`."""
        async with self._store.read() as connection:
            await read_memory_store(connection, workspace_id, store_id)
            return await _read(connection, store_id, version_id)

    async def page(
        self,
        workspace_id: str,
        store_id: str,
        wanted: VersionFilter,
        *,
        content: bool,
        after: Sequence[Any] | None,
        limit: int,
    ) -> list[MemoryVersionRow]:
        """Newest first; one row more than `limit` if there is a next page. Raises `NotFound` for the store."""
        query = _filtered(_versions(content=content).where(memory_versions.c.store_id == store_id), wanted)
        keys = (memory_versions.c.created_us, memory_versions.c.id)
        async with self._store.read() as connection:
            await read_memory_store(connection, workspace_id, store_id)
            return [_row(row) for row in await connection.execute(page_of(query, keys, after=after, limit=limit))]

    async def redact(
        self, workspace_id: str, store_id: str, version_id: str, *, key_id: str, now_us: int
    ) -> MemoryVersionRow:
        """Take path and content out of a version for good; doing it again changes nothing.

        Raises:
            InvalidRequest: a memory has this version as its present one.
            NotFound: there is none.
        """

        async def op(connection: AsyncConnection) -> MemoryVersionRow:
            await read_memory_store(connection, workspace_id, store_id, lock=True)
            row = await _read(connection, store_id, version_id)
            if row.redacted_us is not None:
                return row
            head = select(memories.c.id).where(memories.c.version_id == version_id)
            if (await connection.execute(head)).first() is not None:
                raise InvalidRequest(
                    f"{version_id} is the present version of {row.memory_id}. Change or delete the memory first."
                )
            await connection.execute(
                update(memory_versions)
                .where(memory_versions.c.id == version_id)
                .values(path=None, content=None, content_sha256=None, redacted_us=now_us, redacted_by=key_id)
            )
            return await _read(connection, store_id, version_id)

        return await self._store.write(op)

    async def delete_before(self, before_us: int) -> int:
        """Delete versions made before then, unless a memory has them as its present one, a slice at a time; gives
        their number."""
        return await forget(self._store, memory_versions.c.id, memory_versions.c.created_us < before_us, superseded())


async def _read(connection: AsyncConnection, store_id: str, version_id: str) -> MemoryVersionRow:
    query = _versions(content=True).where(memory_versions.c.store_id == store_id, memory_versions.c.id == version_id)
    found = (await connection.execute(query)).first()
    if found is None:
        raise NotFound(f"There is no memory version {version_id!r} in {store_id}.")
    return _row(found)


def _filtered(query: Select[Any], wanted: VersionFilter) -> Select[Any]:
    columns = memory_versions.c
    if wanted.memory_id is not None:
        query = query.where(columns.memory_id == wanted.memory_id)
    if wanted.operation is not None:
        query = query.where(columns.operation == wanted.operation)
    if wanted.actor is not None:
        query = query.where(columns.actor_type == wanted.actor[0], columns.actor_id == wanted.actor[1])
    if wanted.created_gte_us is not None:
        query = query.where(columns.created_us >= wanted.created_gte_us)
    if wanted.created_lte_us is not None:
        query = query.where(columns.created_us <= wanted.created_lte_us)
    return query


def _versions(*, content: bool) -> Select[Any]:
    others = [column for column in memory_versions.columns if column.name != "content"]
    size = func.length(memory_versions.c.content).label("size_bytes")
    return select(*others, size, memory_versions.c.content) if content else select(*others, size)


def _row(row: Row[Any]) -> MemoryVersionRow:
    return MemoryVersionRow(**{"content": None, **row._mapping})
