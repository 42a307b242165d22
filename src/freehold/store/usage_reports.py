"""What the rows of `calls` add up to, grouped by anything that a row knows. Sums are exact: integers all the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, case, desc, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.call_sums import COUNTED, DAY_US, HOUR_US, MODEL, SUMMED, added_up, stretches
from freehold.store.call_sums import DIMENSIONS as KEPT
from freehold.store.tables import calls

_C = calls.c
LONG_CONTEXT_TOKENS = 200_000
_PROMPT = func.coalesce(_C.input_tokens + _C.cache_write_5m_tokens + _C.cache_write_1h_tokens + _C.cache_read_tokens, 0)
DIMENSIONS: Mapping[str, ColumnElement[Any]] = {
    "workspace": _C.workspace_id,
    "key": _C.key_id,
    "model": MODEL,
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
    dearest: bool = False,
) -> list[dict[str, Any]]:
    """One mapping a group: its dimensions (and `bucket_us`), counts and sums; `limit` and one more. In the order of the
    dimensions, or with `dearest` by what they cost.

    `only` restricts dimensions to values. Calls without a valid key belong to no workspace and are in no report. What
    asks for one dimension, in whole hours, comes from sums that were made before (`store/call_sums.py`).
    """
    restricted = {name: values for name, values in (only or {}).items() if values}
    dimension = _kept(span, by, restricted)
    if dimension is None:
        query, keys = _of_rows(span, by, restricted)
    else:
        query, keys = await _of_sums(conn, span, by, dimension, restricted)
    if keys:
        # The labels, not the expressions: PostgreSQL must see that they are the same.
        query = query.group_by(*keys)
        query = query.order_by(desc("cost_nanodollars"), *keys) if dearest else query.order_by(*keys)
    rows = (await conn.execute(query.limit(limit + 1))).mappings().all()
    return [{name: _plain(value) for name, value in row.items()} for row in rows if row["calls"]]


def _kept(span: Span, by: Sequence[str], only: Mapping[str, Sequence[str]]) -> str | None:
    """The dimension whose sums answer it, or `None`."""
    asked = [name for name in by if name != "workspace"]
    whole = span.width_us is None or span.width_us % HOUR_US == 0
    if len(asked) > 1 or not whole or not set(only) <= {"workspace"}:
        return None
    return (asked[0] if asked[0] in KEPT else None) if asked else "model"


async def _of_sums(
    conn: AsyncConnection, span: Span, by: Sequence[str], dimension: str, only: Mapping[str, Sequence[str]]
) -> tuple[Select[Any], list[str]]:
    widest_us = DAY_US if span.width_us is None or span.width_us % DAY_US == 0 else HOUR_US
    found = await stretches(conn, span.from_us, span.to_us, widest_us=widest_us)
    parts = added_up(found, dimension, width_us=span.width_us, workspaces=only.get("workspace"))
    named = {"workspace": parts.c.workspace, dimension: func.nullif(parts.c.value, "")}
    keys = [named[name].label(name) for name in by]
    if span.width_us is not None:
        keys.insert(0, parts.c.bucket_us.label("bucket_us"))
    sums = [func.coalesce(func.sum(parts.c[name]), 0).label(name) for name in (*COUNTED, *SUMMED)]
    return select(*keys, *sums), [key.name for key in keys]


def _of_rows(span: Span, by: Sequence[str], only: Mapping[str, Sequence[str]]) -> tuple[Select[Any], list[str]]:
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
    return select(*keys, *counts, *sums).where(*_conditions(span, only)), [key.name for key in keys]


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
