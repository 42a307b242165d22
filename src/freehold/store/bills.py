"""What the rows of `calls` add up to, by model. The rows themselves are written in `store/calls.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from freehold.store.tables import calls

SUMMED = (
    "input_tokens",
    "output_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cache_read_tokens",
    "web_searches",
    "cost_nanodollars",
    "latency_us",
    "attempts",
)


async def by_model(
    conn: AsyncConnection,
    workspace_id: str,
    *,
    session_id: str | None = None,
    key_id: str | None = None,
    from_us: int | None = None,
    to_us: int | None = None,
) -> list[Mapping[str, Any]]:
    """One mapping a model: its sums, how many calls, how many failed, how many have no price. Dearest first.

    `from_us` is included, `to_us` is not; both compare with the start of the call.
    """
    conditions: list[ColumnElement[bool]] = [calls.c.workspace_id == workspace_id]
    if session_id is not None:
        conditions.append(calls.c.session_id == session_id)
    if key_id is not None:
        conditions.append(calls.c.key_id == key_id)
    if from_us is not None:
        conditions.append(calls.c.started_us >= from_us)
    if to_us is not None:
        conditions.append(calls.c.started_us < to_us)
    model = func.coalesce(calls.c.model_answered, calls.c.model_asked).label("model")
    sums = [func.coalesce(func.sum(calls.c[name]), 0).label(name) for name in SUMMED]
    priced = (calls.c.cost_nanodollars.is_(None)) & (calls.c.usage_known != "none")
    statement = (
        select(
            model,
            func.count().label("calls"),
            func.count().filter(calls.c.status >= 400).label("failed_calls"),
            func.count().filter(priced).label("unpriced_calls"),
            *sums,
        )
        .where(*conditions)
        .group_by(model)
        .order_by(func.coalesce(func.sum(calls.c.cost_nanodollars), 0).desc(), model)
    )
    rows = (await conn.execute(statement)).mappings().all()
    return [{key: _number(value) for key, value in row.items()} for row in rows]


def _number(value: Any) -> Any:
    """PostgreSQL sums big integers to Decimal; they are whole."""
    return value if value is None or isinstance(value, str) else int(value)
