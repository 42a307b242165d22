"""Chunks of a batch that an upstream's own batch API works on: planned, submitted, collected, each under a lease.

`submitting` is committed before a chunk leaves and its upstream id after it has: whoever finds a chunk in that state
knows that it may be there already. While a chunk is with the upstream its items are leased to `upstream`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, case, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.leases import database_now
from freehold.store.tables import batch_chunks, batch_items

OWNER = "upstream"
_FOR_EVER_US = 1 << 62
LEASE_S = 120.0
"""Longer than one step takes: a submission, a look, or the writing of one group of results."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk, as it was taken."""

    batch_id: str
    number: int
    first_idx: int
    last_idx: int
    state: str
    upstream_id: str | None
    attempt: int
    polls: int
    submitting_us: int | None


_COLUMNS = [batch_chunks.c[field.name] for field in fields(Chunk)]


async def plan(connection: AsyncConnection, batch_id: str, *, most_items: int, most_bytes: int) -> None:
    """Cut the batch into chunks, unless that was done."""
    if (await connection.execute(select(batch_chunks.c.number).where(_of(batch_id)).limit(1))).first() is not None:
        return
    sizes = select(batch_items.c.idx, batch_items.c.size_bytes).where(batch_items.c.batch_id == batch_id)
    first = count = size_bytes = 0
    cuts: list[tuple[int, int]] = []
    for idx, item_bytes in await connection.execute(sizes.order_by(batch_items.c.idx)):
        if count and (count >= most_items or size_bytes + item_bytes > most_bytes):
            cuts.append((first, idx - 1))
            first, count, size_bytes = idx, 0, 0
        count += 1
        size_bytes += item_bytes
    cuts.append((first, first + count - 1))
    rows = [
        {
            "batch_id": batch_id,
            "number": number,
            "first_idx": low,
            "last_idx": high,
            "state": "planned",
            "lease_until_us": 0,
            "attempt": 0,
            "polls": 0,
            "next_us": 0,
        }
        for number, (low, high) in enumerate(cuts)
    ]
    await connection.execute(insert(batch_chunks), rows)


Stand = tuple[set[str], set[str]]
"""Of some batches, those that are cut into chunks, and those with a chunk that is due."""


async def stand(connection: AsyncConnection, batch_ids: Collection[str], *, now_us: int) -> Stand:
    """How these batches stand: a look without a write."""
    if not batch_ids:
        return set(), set()
    chunk = batch_chunks.c
    query = select(chunk.batch_id, func.min(case((chunk.state != "done", chunk.next_us)))).where(
        chunk.batch_id.in_(list(batch_ids))
    )
    found = (await connection.execute(query.group_by(chunk.batch_id))).all()
    due = {batch_id for batch_id, next_us in found if next_us is not None and next_us <= now_us}
    return {batch_id for batch_id, _ in found}, due


async def take(connection: AsyncConnection, batch_id: str, owner: str, *, now_us: int) -> Chunk | None:
    """A chunk with something to do now that nobody else works on, ours for two minutes; `None`: there is none."""
    now, chunk = _now(connection, now_us), batch_chunks.c
    due = (
        select(chunk.number)
        .where(_of(batch_id), chunk.state != "done", chunk.next_us <= now_us, chunk.lease_until_us <= now)
        .order_by(chunk.next_us, chunk.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    number = (await connection.execute(due)).scalar_one_or_none()
    if number is None:
        return None
    leased = update(batch_chunks).where(_of(batch_id), chunk.number == number)
    values = {"owner": owner, "attempt": chunk.attempt + 1, "lease_until_us": now + round(LEASE_S * 1_000_000)}
    row = (await connection.execute(leased.values(**values).returning(*_COLUMNS))).one()
    return Chunk(**row._mapping)


async def change(connection: AsyncConnection, chunk: Chunk, *, now_us: int, keep: bool, **values: Any) -> bool:
    """Change a chunk that is still ours; false if it is not. `keep` renews our lease, else it is given back."""
    until = _now(connection, now_us) + round(LEASE_S * 1_000_000) if keep else 0
    changed = await connection.execute(
        update(batch_chunks)
        .where(_of(chunk.batch_id), batch_chunks.c.number == chunk.number, batch_chunks.c.attempt == chunk.attempt)
        .values(lease_until_us=until, **values)
        .returning(batch_chunks.c.number)
    )
    return changed.first() is not None


async def waiting(connection: AsyncConnection, chunk: Chunk) -> list[tuple[int, str]]:
    """(place, custom_id) of the items of a chunk that have no result yet, in order."""
    item = batch_items.c
    query = select(item.idx, item.custom_id).where(
        item.batch_id == chunk.batch_id,
        item.idx.between(chunk.first_idx, chunk.last_idx),
        item.state.in_(("queued", "leased")),
    )
    return [(row.idx, row.custom_id) for row in await connection.execute(query.order_by(item.idx))]


async def hand_over(connection: AsyncConnection, chunk: Chunk) -> None:
    """The items of the chunk that wait are with the upstream from now on."""
    item = batch_items.c
    await connection.execute(
        update(batch_items)
        .where(item.batch_id == chunk.batch_id, item.idx.between(chunk.first_idx, chunk.last_idx))
        .where(item.state == "queued")
        .values(state="leased", owner=OWNER, lease_until_us=_FOR_EVER_US)
    )


async def still_open(connection: AsyncConnection, batch_id: str, places: Collection[int]) -> dict[int, str]:
    """Those of the places that have no result yet, with their custom_ids; locked."""
    item = batch_items.c
    query = (
        select(item.idx, item.custom_id)
        .where(item.batch_id == batch_id, item.idx.in_(list(places)), item.state.in_(("queued", "leased")))
        .order_by(item.idx)
        .with_for_update()
    )
    return {row.idx: row.custom_id for row in await connection.execute(query)}


async def upstream_ids(connection: AsyncConnection, found: Collection[str]) -> set[str]:
    """Those of the upstream's batches that a chunk is known to be."""
    query = select(batch_chunks.c.upstream_id).where(batch_chunks.c.upstream_id.in_(list(found)))
    return {str(one) for one in (await connection.execute(query)).scalars()}


def _of(batch_id: str) -> ColumnElement[bool]:
    return batch_chunks.c.batch_id == batch_id


def _now(connection: AsyncConnection, now_us: int) -> ColumnElement[int]:
    return database_now(connection.dialect.name, literal(now_us, BigInteger()))
