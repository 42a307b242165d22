"""What the rows of `calls` say of traffic: how many, how slow, what failed, who answered, in buckets of time."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.tables import calls

_C = calls.c
LATENCY_CLASSES_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
"""Upper ends; a last class holds what took longer."""


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
    bucket = (_C.started_us // width_us * width_us).label("bucket_us")
    model = func.coalesce(_C.model_answered, _C.model_asked).label("model")
    latency = case(
        *((_C.latency_us < most * 1000, place) for place, most in enumerate(LATENCY_CLASSES_MS)),
        else_=len(LATENCY_CLASSES_MS),
    ).label("latency_class")
    keys = [bucket, model, _C.status, _C.error_type, latency]
    found = (
        select(
            *keys,
            func.count().label("calls"),
            _sum(_C.cost_nanodollars),
            _sum(_C.input_tokens),
            _sum(_C.output_tokens),
            _sum(_C.cache_read_tokens),
            _sum(_C.cache_write_5m_tokens + _C.cache_write_1h_tokens),
        )
        .where(_C.started_us >= from_us, _C.started_us < to_us)
        .group_by("bucket_us", "model", _C.status, _C.error_type, "latency_class")
    )
    owned = _C.workspace_id.is_not(None) if workspace_id is None else _C.workspace_id == workspace_id
    rows = await conn.execute(found.where(owned))
    return [Group(*row[:5], *(int(value) for value in row[5:])) for row in rows]


def _sum(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(column), 0)
