"""What calls of earlier batches of a kind have used, and what is left of a batch: what forecasts are made of.

Known as long as the results are kept. It does not know what a kind is, or prices.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.batches import COLUMNS, BatchRow, row_of
from freehold.store.tables import batch_items, batch_requests, batch_results, batches

MOST_CALLS = 20_000
"""The newest of a kind. More would narrow a forecast by little, and take a tenth of a second."""


@dataclass(frozen=True, slots=True)
class Used:
    """One call that was answered: the bytes of its params, and its tokens."""

    size_bytes: int
    input_tokens: int
    output_tokens: int


async def of_kind(connection: AsyncConnection, workspace_id: str, kind: str) -> list[list[Used]]:
    """The answered calls of the workspace's batches of a kind, a list for each batch, newest batch first."""
    newest = select(batches.c.id).where(
        batches.c.workspace_id == workspace_id,
        batches.c.kind == kind,
        batches.c.holds != "nothing",
        batches.c.status != "deleted",
        batches.c.succeeded > 0,
    )
    found, left = [], MOST_CALLS
    for batch_id in (await connection.execute(newest.order_by(batches.c.created_us.desc()).limit(20))).scalars().all():
        found.append(await of_batch(connection, batch_id, most=left))
        left -= len(found[-1])
        if left <= 0:
            break
    return found


async def of_batch(connection: AsyncConnection, batch_id: str, *, most: int = MOST_CALLS) -> list[Used]:
    """The calls of one batch that were answered so far."""
    same = and_(batch_results.c.batch_id == batch_items.c.batch_id, batch_results.c.idx == batch_items.c.idx)
    query = (
        select(batch_items.c.size_bytes, batch_results.c.input_tokens, batch_results.c.output_tokens)
        .select_from(batch_results.join(batch_items, same))
        .where(batch_results.c.batch_id == batch_id, batch_results.c.output_tokens > 0)
        .limit(most)
    )
    return [Used(*row) for row in await connection.execute(query)]


async def fresh(connection: AsyncConnection, batch_id: str) -> BatchRow:
    """The batch as it is at the moment of the other figures."""
    return row_of((await connection.execute(select(*COLUMNS).where(batches.c.id == batch_id))).one())


async def left_of(connection: AsyncConnection, batch_id: str) -> list[int]:
    """Bytes of the params of each call of a batch that has no result yet."""
    item = batch_items.c
    query = select(item.size_bytes).where(item.batch_id == batch_id, item.state.in_(("queued", "leased")))
    return list((await connection.execute(query)).scalars())


async def some_params(connection: AsyncConnection, batch_id: str) -> bytes | None:
    """The params of one of its requests; `None` when they are tidied away."""
    query = select(batch_requests.c.params).where(batch_requests.c.batch_id == batch_id).limit(1)
    found = (await connection.execute(query)).scalar_one_or_none()
    return None if found is None else bytes(found)


async def spread(connection: AsyncConnection, batch_id: str) -> list[tuple[int | None, int | None, int]]:
    """Milliseconds, nanodollars and output tokens of the calls of a batch that were answered."""
    result = batch_results.c
    query = select(result.latency_ms, result.cost_nanodollars, result.output_tokens)
    found = await connection.execute(
        query.where(result.batch_id == batch_id, result.output_tokens > 0).limit(MOST_CALLS)
    )
    return [(row.latency_ms, row.cost_nanodollars, row.output_tokens) for row in found]
