"""Which blobs are still needed: by files that have not expired, by versions of skills. Does not know where they are."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.engine import Store
from freehold.store.tables import files, skill_versions


class BlobUsers:
    """Rows that refer to blobs, of all workspaces."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def used(self, names: Collection[str], now_us: int) -> set[str]:
        """Those of `names` that something refers to."""
        async with self._store.read() as connection:
            return {name for query in _users(names, now_us) for name in (await connection.execute(query)).scalars()}

    async def remove_unused(self, sha256: str, now_us: int, remove: Callable[[], None]) -> bool:
        """Call `remove` while it is certain that nothing refers to that blob, nor begins to."""

        async def op(connection: AsyncConnection) -> bool:
            if not await _own_blob(connection, sha256):
                return False
            for query in _users([sha256], now_us):
                if (await connection.execute(query)).first() is not None:
                    return False
            remove()
            return True

        return await self._store.write(op)


async def share_blob(connection: AsyncConnection, sha256: str) -> None:
    """For a transaction that begins to refer to a blob: until its commit nobody removes it.

    SQLite has one writer at a time, which is enough.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(select(func.pg_advisory_xact_lock_shared(_lock_key(sha256))))


def live(now_us: int) -> ColumnElement[bool]:
    """Files whose bytes have not expired."""
    return or_(files.c.expires_us.is_(None), files.c.expires_us > now_us)


def _users(names: Collection[str], now_us: int) -> list[Select[Any]]:
    return [
        select(files.c.sha256).where(files.c.sha256.in_(names), live(now_us)).distinct(),
        select(skill_versions.c.sha256).where(skill_versions.c.sha256.in_(names)).distinct(),
    ]


async def _own_blob(connection: AsyncConnection, sha256: str) -> bool:
    """Until the commit nobody begins to refer to this blob; false if somebody just does."""
    if connection.dialect.name != "postgresql":
        return True
    return bool((await connection.execute(select(func.pg_try_advisory_xact_lock(_lock_key(sha256))))).scalar())


def _lock_key(sha256: str) -> int:
    return int(sha256[:15], 16)
