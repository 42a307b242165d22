"""Rows of memories and of their versions: every change is one version, and all in one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row, Select, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import Conflict, InvalidRequest, NotFound
from freehold.ids import NewId
from freehold.store.engine import Store
from freehold.store.memory_stores import MemoryStoreRow, read_memory_store
from freehold.store.tables import memories, memory_versions

MOST_MEMORIES = 2000
"""In one store (Claude API docs, Memory, read 2026-11-23)."""


def changes(store_id: str) -> str:
    """The key that is signalled when something in that store has changed."""
    return f"memories of {store_id}"


class PathTaken(Conflict):
    """Another memory stands at this path, or in the way to it."""

    type = "memory_path_conflict_error"

    def __init__(self, path: str, other: MemoryRow) -> None:
        super().__init__(f"path: {path!r} cannot be taken: the memory {other.id} is at {other.path!r}.")
        self.members = {"conflicting_memory_id": other.id, "conflicting_path": other.path}


class ContentChanged(Conflict):
    """The memory's content is not what the precondition expects."""

    type = "memory_precondition_failed_error"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes a memory: `("api_actor", key id)` or `("session_actor", session id)`."""

    type: str
    id: str


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """One memory as it is now. `content` is `None` where nobody asked for it."""

    id: str
    store_id: str
    version_id: str
    path: str
    content: bytes | None
    content_sha256: str
    size_bytes: int
    created_us: int
    updated_us: int


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a memory: a new content, a new path, or both."""

    path: str
    content: bytes


class MemoryRows:
    """Memories of all workspaces; every call names the one that it may see."""

    def __init__(self, store: Store, *, ids: NewId) -> None:
        self._store = store
        self._ids = ids

    async def create(self, workspace_id: str, store_id: str, change: Change, *, actor: Actor, now_us: int) -> MemoryRow:
        """A new memory. Raises `PathTaken`, `NotFound`, and `InvalidRequest` for a full or archived store."""

        async def op(connection: AsyncConnection) -> MemoryRow:
            await _open_store(connection, workspace_id, store_id)
            await _refuse_taken(connection, store_id, change.path, None)
            await _refuse_full(connection, store_id)
            row = _fresh(self._ids("mem"), store_id, self._ids("memver"), change, now_us)
            await connection.execute(insert(memories).values(**_stored(row)))
            await _add_version(connection, row, "created", actor, now_us)
            return row

        return await self._store.write(op, wake=[changes(store_id)])

    async def update(
        self,
        workspace_id: str,
        store_id: str,
        memory_id: str,
        change: Callable[[MemoryRow], Change],
        *,
        expected_sha256: str | None,
        actor: Actor,
        now_us: int,
    ) -> MemoryRow:
        """Store what `change` makes of the memory, unless that is what it is. Raises as `create`, and
        `ContentChanged`."""

        async def op(connection: AsyncConnection) -> MemoryRow:
            await _open_store(connection, workspace_id, store_id)
            row = await _read(connection, store_id, memory_id)
            _refuse_changed(row, expected_sha256)
            new = change(row)
            if (new.path, new.content) == (row.path, row.content):
                return row
            if new.path != row.path:
                await _refuse_taken(connection, store_id, new.path, row.id)
            newer = replace(_fresh(row.id, store_id, self._ids("memver"), new, now_us), created_us=row.created_us)
            await connection.execute(update(memories).where(memories.c.id == row.id).values(**_stored(newer)))
            await _add_version(connection, newer, "modified", actor, now_us)
            return newer

        return await self._store.write(op, wake=[changes(store_id)])

    async def delete(
        self,
        workspace_id: str,
        store_id: str,
        memory_id: str,
        *,
        expected_sha256: str | None,
        actor: Actor,
        now_us: int,
    ) -> None:
        """Delete a memory; its versions stay. Raises `NotFound`, `ContentChanged`, `InvalidRequest`."""

        async def op(connection: AsyncConnection) -> None:
            await _open_store(connection, workspace_id, store_id)
            row = await _read(connection, store_id, memory_id)
            _refuse_changed(row, expected_sha256)
            await connection.execute(delete(memories).where(memories.c.id == memory_id))
            gone = replace(row, version_id=self._ids("memver"))
            await _add_version(connection, gone, "deleted", actor, now_us)

        await self._store.write(op, wake=[changes(store_id)])

    async def get(self, workspace_id: str, store_id: str, memory_id: str) -> MemoryRow:
        """With its content. Raises `NotFound`."""
        async with self._store.read() as connection:
            await read_memory_store(connection, workspace_id, store_id)
            return await _read(connection, store_id, memory_id)

    async def at(self, workspace_id: str, store_id: str, path: str) -> MemoryRow | None:
        """The memory at that path, with its content, or `None`. Raises `NotFound` for the store."""
        async with self._store.read() as connection:
            await read_memory_store(connection, workspace_id, store_id)
            query = _memories(content=True).where(memories.c.store_id == store_id, memories.c.path == path)
            found = (await connection.execute(query)).first()
            return None if found is None else _memory(found)

    async def below(
        self,
        workspace_id: str,
        store_id: str,
        prefix: str,
        *,
        with_content: Callable[[Sequence[MemoryRow]], Collection[str]] | None = None,
    ) -> list[MemoryRow]:
        """Every memory whose path begins so, in the order of the paths' characters, all of one moment.

        `with_content` picks the ids of those that come with their content. A store has at most 2,000 memories, so
        without content all of them are one cheap query. Raises `NotFound`.
        """
        async with self._store.read() as connection:
            await read_memory_store(connection, workspace_id, store_id)
            query = _memories(content=False).where(
                memories.c.store_id == store_id, func.substr(memories.c.path, 1, len(prefix)) == prefix
            )
            rows = sorted((_memory(row) for row in await connection.execute(query)), key=lambda row: row.path)
            ids = with_content(rows) if with_content is not None else ()
            if not ids:
                return rows
            full = _memories(content=True).where(memories.c.id.in_(ids))
            filled = {row.id: _memory(row) for row in await connection.execute(full)}
            return [filled.get(row.id, row) for row in rows]


async def _open_store(connection: AsyncConnection, workspace_id: str, store_id: str) -> MemoryStoreRow:
    """The store, locked: its changes come one after the other."""
    store = await read_memory_store(connection, workspace_id, store_id, lock=True)
    if store.archived_us is not None:
        raise InvalidRequest(f"The memory store {store_id} is archived; its memories can only be read.")
    return store


async def _read(connection: AsyncConnection, store_id: str, memory_id: str) -> MemoryRow:
    query = _memories(content=True).where(memories.c.store_id == store_id, memories.c.id == memory_id)
    found = (await connection.execute(query)).first()
    if found is None:
        raise NotFound(f"There is no memory {memory_id!r} in {store_id}.")
    return _memory(found)


async def _refuse_taken(connection: AsyncConnection, store_id: str, path: str, own_id: str | None) -> None:
    """A store is a tree of files when it is mounted, so a memory cannot stand where another one needs a folder."""
    parts = path.split("/")
    at_or_above = ["/".join(parts[:depth]) for depth in range(2, len(parts) + 1)]
    below = path + "/"
    query = _memories(content=False).where(
        memories.c.store_id == store_id,
        or_(memories.c.path.in_(at_or_above), func.substr(memories.c.path, 1, len(below)) == below),
    )
    if own_id is not None:
        query = query.where(memories.c.id != own_id)
    found = (await connection.execute(query.order_by(func.length(memories.c.path)).limit(1))).first()
    if found is not None:
        raise PathTaken(path, _memory(found))


async def _refuse_full(connection: AsyncConnection, store_id: str) -> None:
    query = select(func.count()).select_from(memories).where(memories.c.store_id == store_id)
    if (await connection.execute(query)).scalar_one() >= MOST_MEMORIES:
        raise InvalidRequest(f"The memory store {store_id} is full: it holds {MOST_MEMORIES:,} memories.")


def _refuse_changed(row: MemoryRow, expected_sha256: str | None) -> None:
    if expected_sha256 is not None and expected_sha256 != row.content_sha256:
        raise ContentChanged(
            f"The content of {row.id} has the SHA-256 {row.content_sha256}, not {expected_sha256}. Read it again."
        )


async def _add_version(connection: AsyncConnection, row: MemoryRow, operation: str, actor: Actor, now_us: int) -> None:
    gone = operation == "deleted"
    await connection.execute(
        insert(memory_versions).values(
            id=row.version_id,
            store_id=row.store_id,
            memory_id=row.id,
            operation=operation,
            path=row.path,
            content=None if gone else row.content,
            content_sha256=None if gone else row.content_sha256,
            actor_type=actor.type,
            actor_id=actor.id,
            created_us=now_us,
        )
    )


def _fresh(memory_id: str, store_id: str, version_id: str, change: Change, now_us: int) -> MemoryRow:
    digest = hashlib.sha256(change.content).hexdigest()
    return MemoryRow(
        memory_id, store_id, version_id, change.path, change.content, digest, len(change.content), now_us, now_us
    )


def _stored(row: MemoryRow) -> dict[str, Any]:
    return {column.name: getattr(row, column.name) for column in memories.columns}


def _memories(*, content: bool) -> Select[Any]:
    others = [column for column in memories.columns if column.name != "content"]
    size = func.length(memories.c.content).label("size_bytes")
    return select(*others, size, memories.c.content) if content else select(*others, size)


def _memory(row: Row[Any]) -> MemoryRow:
    return MemoryRow(**{"content": None, **row._mapping})
