"""Puts rows of an export back as they were, with their ids and times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import msgspec
from sqlalchemy import Table, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import Conflict
from freehold.store.blobs import share_blob
from freehold.store.engine import Store
from freehold.store.files import FileRow
from freehold.store.memories import MemoryRow
from freehold.store.memory_stores import MemoryStoreRow
from freehold.store.memory_versions import MemoryVersionRow
from freehold.store.skills import SkillRow, SkillVersionRow
from freehold.store.tables import files, memories, memory_stores, memory_versions, skill_versions, skills


class Restoring:
    """Each call is one transaction, and raises `Conflict` if the id is already on this server, in any workspace."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def file(self, row: FileRow, *, ensure_blob: Callable[[], None]) -> None:
        """One file."""

        async def op(connection: AsyncConnection) -> None:
            await _refuse_known(connection, files, row.id)
            await share_blob(connection, row.sha256)
            ensure_blob()
            await connection.execute(insert(files).values(**asdict(row)))

        await self._store.write(op)

    async def skill(
        self, skill: SkillRow, versions: Sequence[SkillVersionRow], *, ensure_blobs: Callable[[], None]
    ) -> None:
        """One skill with its versions."""

        async def op(connection: AsyncConnection) -> None:
            await _refuse_known(connection, skills, skill.id)
            for version in versions:
                await share_blob(connection, version.sha256)
            ensure_blobs()
            await connection.execute(insert(skills).values(**asdict(skill)))
            for version in versions:
                await connection.execute(insert(skill_versions).values(**asdict(version)))

        await self._store.write(op)

    async def memory_store(
        self, row: MemoryStoreRow, present: Sequence[MemoryRow], history: Sequence[MemoryVersionRow]
    ) -> None:
        """One memory store with its memories and their versions."""

        async def op(connection: AsyncConnection) -> None:
            await _refuse_known(connection, memory_stores, row.id)
            values = {**asdict(row), "metadata": msgspec.json.encode(row.metadata).decode()}
            await connection.execute(insert(memory_stores).values(**values))
            for table, rows in ((memories, present), (memory_versions, history)):
                if rows:
                    await connection.execute(insert(table), [_columns(table, one) for one in rows])

        await self._store.write(op)


def _columns(table: Table, row: object) -> dict[str, Any]:
    return {column.name: getattr(row, column.name) for column in table.columns}


async def _refuse_known(connection: AsyncConnection, table: Table, row_id: str) -> None:
    if (await connection.execute(select(table.c.id).where(table.c.id == row_id))).first() is not None:
        raise Conflict(f"{row_id} is already on this server; nothing of it was taken in.")
