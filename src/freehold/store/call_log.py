"""Reading rows of calls one by one: a page of them by what they say, or a single one. `store/calls.py` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.calls import CallRow
from freehold.store.keyset import page
from freehold.store.tables import calls, recordings

EQUAL = (
    "key_id",
    "session_id",
    "user_id",
    "task_type",
    "source",
    "route",
    "upstream",
    "error_type",
    "stop_reason",
)
"""Columns that a list can be filtered by."""
_LONGEST_US = 3_600_000_000
_RECORDED = exists().where(recordings.c.call_id == calls.c.id).label("recorded")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls. `equal` is by column, `model` asked for or answered; times are microseconds since 1970."""

    workspace_id: str
    equal: Mapping[str, str]
    model: str | None = None
    status: int | None = None
    failed: bool | None = None
    recorded: bool | None = None
    from_us: int | None = None
    before_us: int | None = None
    ended_us: int | None = None
    """Those that ended then or later, and began in the hour before that or later."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One call, and whether it was recorded whole."""

    row: CallRow
    recorded: bool


async def calls_page(
    connection: AsyncConnection, wanted: Wanted, *, after: Sequence[Any] | None, limit: int
) -> list[Logged]:
    """Newest first, and one more than `limit` where there are more."""
    query = page(_filtered(wanted), (calls.c.started_us, calls.c.id), after=after, limit=limit)
    return [_logged(row) for row in await connection.execute(query)]


async def call_of(connection: AsyncConnection, workspace_id: str, call_id: str) -> Logged | None:
    """That call, if it is of this workspace."""
    query = select(calls, _RECORDED).where(calls.c.id == call_id, calls.c.workspace_id == workspace_id)
    row = (await connection.execute(query)).first()
    return None if row is None else _logged(row)


def _filtered(wanted: Wanted) -> Select[Any]:
    query = select(calls, _RECORDED).where(calls.c.workspace_id == wanted.workspace_id)
    for name, value in wanted.equal.items():
        query = query.where(calls.c[name] == value)
    if wanted.model is not None:
        query = query.where((calls.c.model_asked == wanted.model) | (calls.c.model_answered == wanted.model))
    if wanted.status is not None:
        query = query.where(calls.c.status == wanted.status)
    if wanted.failed is not None:
        query = query.where(calls.c.error_type.is_not(None) if wanted.failed else calls.c.error_type.is_(None))
    if wanted.recorded is not None:
        found = exists().where(recordings.c.call_id == calls.c.id)
        query = query.where(found if wanted.recorded else ~found)
    if wanted.from_us is not None:
        query = query.where(calls.c.started_us >= wanted.from_us)
    if wanted.before_us is not None:
        query = query.where(calls.c.started_us < wanted.before_us)
    if wanted.ended_us is not None:
        began = calls.c.started_us >= wanted.ended_us - _LONGEST_US
        query = query.where(began, calls.c.started_us + calls.c.latency_us >= wanted.ended_us)
    return query


def _logged(row: Sequence[Any]) -> Logged:
    return Logged(CallRow(*row[:-1]), bool(row[-1]))
