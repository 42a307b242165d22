"""What the rows of `calls` add up to, grouped by anything that a row knows. Sums are exact: integers all the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.tables import calls

_C = calls.c
LONG_CONTEXT_TOKENS = 200_000
SUMMED = (
    "input_tokens",
    "output_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cache_read_tokens",
    "web_searches",
    "cost_nanodollars",
    "settled_nanodollars",
    "latency_us",
    "attempts",
)
COUNTED = ("calls", "failed_calls", "unpriced_calls")
_PROMPT = func.coalesce(_C.input_tokens + _C.cache_write_5m_tokens + _C.cache_write_1h_tokens + _C.cache_read_tokens, 0)
DIMENSIONS: Mapping[str, ColumnElement[Any]] = {
    "workspace": _C.workspace_id,
    "key": _C.key_id,
    "model": func.coalesce(_C.model_answered, _C.model_asked),
    "session": _C.session_id,
    "user": _C.user_id,
    "task_type": _C.task_type,
    "source": _C.source,
    "upstream": _C.upstream,
    "settlement": _C.settlement,
    "context_window": case((_PROMPT > LONG_CONTEXT_TOKENS, "200k-1M"), else_="0-200k"),
}
"""What rows can be grouped by, besides the time."""


@dataclass(frozen=True, slots=True)
class Span:
    """Calls that started within: `from_us` included, `to_us` not; `None` is open. `width_us`: cut into buckets."""

    from_us: int | None = None
    to_us: int | None = None
    width_us: int | None = None


async def report(
    conn: AsyncConnection,
    span: Span,
    by: Sequence[str],
    *,
    only: Mapping[str, Sequence[str]] | None = None,
    limit: int = 10_000,
) -> list[dict[str, Any]]:
    """One mapping a group: its dimensions (and `bucket_us`), counts and sums, in their order; `limit` and one more.

    `only` restricts dimensions to values. Calls without a valid key belong to no workspace and are in no report.
    """
    keys = [DIMENSIONS[name].label(name) for name in by]
    if span.width_us is not None:
        keys.insert(0, (_C.started_us // span.width_us * span.width_us).label("bucket_us"))
    sums = [func.coalesce(func.sum(_C[name]), 0).label(name) for name in SUMMED]
    unpriced = _C.cost_nanodollars.is_(None) & (_C.usage_known != "none")
    counts = [
        func.count().label("calls"),
        func.count().filter(_C.status >= 400).label("failed_calls"),
        func.count().filter(unpriced).label("unpriced_calls"),
    ]
    found = select(*keys, *counts, *sums).where(*_conditions(span, only or {}))
    if keys:
        # The labels, not the expressions: PostgreSQL must see that they are the same.
        found = found.group_by(*(key.name for key in keys)).order_by(*(key.name for key in keys))
    rows = (await conn.execute(found.limit(limit + 1))).mappings().all()
    return [{name: _plain(value) for name, value in row.items()} for row in rows if row["calls"]]


def _conditions(span: Span, only: Mapping[str, Sequence[str]]) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [_C.workspace_id.is_not(None)]
    if span.from_us is not None:
        conditions.append(_C.started_us >= span.from_us)
    if span.to_us is not None:
        conditions.append(_C.started_us < span.to_us)
    conditions += [DIMENSIONS[name].in_(values) for name, values in only.items() if values]
    return conditions


def _plain(value: Any) -> Any:
    """PostgreSQL sums big integers to Decimal; they are whole."""
    return value if value is None or isinstance(value, str) else int(value)
