"""The door to the database, on both kinds."""

from __future__ import annotations

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.engine import Store
from freehold.store.tables import workspaces


async def add(conn: AsyncConnection, name: str) -> str:
    await conn.execute(insert(workspaces), {"id": f"wrkspc_{name}", "name": name, "created_us": 1})
    return name


async def names(store: Store) -> set[str]:
    async with store.read() as conn:
        return set((await conn.execute(select(workspaces.c.name))).scalars())


async def test_what_was_written_can_be_read(store: Store) -> None:
    assert await store.write(lambda conn: add(conn, "a")) == "a"
    assert await names(store) == {"a"}
