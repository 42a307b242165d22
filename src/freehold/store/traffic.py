"""What the rows of `calls` say of traffic: how many, how slow, what failed, who answered, in buckets of time."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.call_sums import HOUR_US, SEPARATOR, Stretch, added_up, stretches


class Group(NamedTuple):
    """Calls of one bucket that are alike."""

    bucket_us: int
    model: str | None
    status: int
    error_type: str | None
    latency_class: int
    """Index in `LATENCY_CLASSES_MS`; one more than the last for what took longer."""
    calls: int
    cost_nanodollars: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int


async def groups(
    conn: AsyncConnection, workspace_id: str | None, from_us: int, to_us: int, width_us: int
) -> list[Group]:
    """Calls that started from `from_us` to before `to_us`, by bucket, model, outcome and latency class. `None`: of all
    workspaces.
    """
    whole = width_us % HOUR_US == 0
    found = await stretches(conn, from_us, to_us, widest_us=width_us) if whole else [Stretch(from_us, to_us, 0)]
    workspaces = None if workspace_id is None else [workspace_id]
    parts = added_up(found, "outcome", width_us=width_us, workspaces=workspaces)
    column = parts.c
    names = ("calls", "cost_nanodollars", "input_tokens", "output_tokens", "cache_read_tokens")
    written = func.sum(column.cache_write_5m_tokens + column.cache_write_1h_tokens)
    query = select(column.bucket_us, column.value, *(func.sum(column[name]) for name in names), written)
    rows = await conn.execute(query.group_by(column.bucket_us, column.value))
    return [Group(int(row[0]), *_outcome(row[1]), *(int(value) for value in row[2:])) for row in rows]


@lru_cache(maxsize=4096)
def _outcome(text: str) -> tuple[str | None, int, str | None, int]:
    model, status, error_type, latency = text.split(SEPARATOR)
    return model or None, int(status), error_type or None, int(latency)
