"""Deletes rows that are over, a slice at a time: each is a write of its own, so others write in between."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.engine import Store

SLICE = 500
"""Rows of one write: nobody who waits for another is held up."""


async def forget(store: Store, key: Column[Any], *which: ColumnElement[bool]) -> int:
    """Delete those rows of `key`'s table that all of `which` fit; how many. `key` tells them apart.

    They are looked for by reading, so where nothing is over nothing is written, and what is no longer over when its
    turn comes stays.
    """
    over, gone = select(key).where(*which).limit(SLICE), 0
    while True:
        async with store.read() as connection:
            found = list((await connection.execute(over)).scalars())
        if found:

            async def op(connection: AsyncConnection, found: list[Any] = found) -> int:
                return (await connection.execute(delete(key.table).where(key.in_(found), *which))).rowcount

            gone += await store.write(op)
        if len(found) < SLICE:
            return gone
