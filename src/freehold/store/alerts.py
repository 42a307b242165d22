"""Rows of alerts: what is wrong in a workspace, since when, until when; and what alerts are judged by.

An alert that opens or ends is told to webhooks in the same transaction, once, whatever the number of servers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import case, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.ids import NewId, new_id
from freehold.store.engine import Store
from freehold.store.forgetting import forget
from freehold.store.keyset import page
from freehold.store.tables import alerts, budgets, calls, workspaces
from freehold.store.webhooks import announce

BUDGET, ERRORS, LATENCY, CACHE, RESOLVED = (
    "alert.budget_reached",
    "alert.errors",
    "alert.latency",
    "alert.cache",
    "alert.resolved",
)
KINDS = (BUDGET, ERRORS, LATENCY, CACHE, RESOLVED)
"""As webhooks call them."""
_A = alerts.c
_C = calls.c
_ORGANIZATION_TELLS = "default"
"""The workspace that hears of what belongs to none."""


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One alert. `figures` is JSON. `open_as` is what no other open alert has; null when it is over."""

    id: str
    workspace_id: str
    kind: str
    figures: str
    open_as: str | None
    opened_us: int
    closed_us: int | None = None
    until_us: int | None = None
    """It is over by itself then."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What calls of a workspace were like for a while."""

    workspace_id: str
    calls: int
    failed: int
    """By the upstream's or our fault: limits, overload, errors of servers, answers that broke off."""
    answered: int
    slow: int
    """Of those answered."""
    prompt_tokens: int
    read_tokens: int
    """From the prompt cache."""


async def watched(conn: AsyncConnection, from_us: int, to_us: int, slow_us: int) -> list[Watched]:
    """Calls that began within, by workspace. `slow_us`: what takes longer is slow."""
    broke_off = (_C.status < 400) & _C.error_type.is_not(None)
    failed = (_C.status >= 500) | (_C.status == 429) | broke_off
    answered = _C.status < 400
    read = func.coalesce(_C.cache_read_tokens, 0)
    written = func.coalesce(_C.cache_write_5m_tokens, 0) + func.coalesce(_C.cache_write_1h_tokens, 0)
    query = select(
        _C.workspace_id,
        func.count(),
        _count(failed),
        _count(answered),
        _count(answered & (_C.latency_us > slow_us)),
        func.coalesce(func.sum(read + written + func.coalesce(_C.input_tokens, 0)), 0),
        func.coalesce(func.sum(read), 0),
    ).where(_C.started_us >= from_us, _C.started_us < to_us, _C.workspace_id.is_not(None))
    rows = await conn.execute(query.group_by(_C.workspace_id))
    return [Watched(row[0], *(int(value) for value in row[1:])) for row in rows]


def _count(condition: Any) -> Any:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


async def open_ones(conn: AsyncConnection) -> list[AlertRow]:
    """Of all workspaces, but those that end by themselves."""
    found = select(alerts).where(_A.open_as.is_not(None), _A.until_us.is_(None))
    return [AlertRow(**row._mapping) for row in await conn.execute(found)]


async def raise_(
    conn: AsyncConnection,
    workspace_id: str,
    kind: str,
    figures: Mapping[str, Any],
    *,
    now_us: int,
    subject_id: str = "",
    until_us: int | None = None,
    ids: NewId = new_id,
) -> bool:
    """Open an alert, unless it is open already; whether it is new."""
    alert_id, open_as = ids("alrt"), f"{workspace_id}/{kind}/{subject_id}"
    row = AlertRow(alert_id, workspace_id, kind, json.dumps(figures), open_as, now_us, until_us=until_us)
    dialect: Any = postgresql if conn.dialect.name == "postgresql" else sqlite
    put = dialect.insert(alerts).values(**asdict(row)).on_conflict_do_nothing().returning(_A.id)
    if (await conn.execute(put)).first() is None:
        return False
    await announce(conn, workspace_id, kind, alert_id, now_us=now_us, ids=ids)
    return True


async def resolve(conn: AsyncConnection, row: AlertRow, *, now_us: int, ids: NewId = new_id) -> None:
    """It is over; nothing, if another process has said so already."""
    mine = (_A.id == row.id) & _A.closed_us.is_(None)
    closed = update(alerts).where(mine).values(closed_us=now_us, open_as=None).returning(_A.id)
    if (await conn.execute(closed)).first() is not None:
        await announce(conn, row.workspace_id, RESOLVED, row.id, now_us=now_us, ids=ids)


async def budget_reached(
    conn: AsyncConnection, budget_id: str, figures: Mapping[str, Any], until_us: int | None, now_us: int
) -> None:
    """A soft budget is at its limit. One of the whole organisation is told to the first workspace."""
    found = (await conn.execute(select(budgets.c.workspace_id, budgets.c.unit).where(budgets.c.id == budget_id))).one()
    default = select(workspaces.c.id).where(workspaces.c.name == _ORGANIZATION_TELLS)
    workspace = found.workspace_id or (await conn.execute(default)).scalar()
    if workspace is not None:
        subject = f"{budget_id}/{figures.get('scope_id')}/{until_us}"
        told = {"budget_id": budget_id, "unit": found.unit, **figures}
        await raise_(conn, workspace, BUDGET, told, now_us=now_us, subject_id=subject, until_us=until_us)


async def listed(
    conn: AsyncConnection, workspace_id: str, *, only_open: bool, now_us: int, after: Sequence[Any] | None, limit: int
) -> list[AlertRow]:
    """Newest first, and one more than `limit` where there are more."""
    found = select(alerts).where(_A.workspace_id == workspace_id)
    if only_open:
        found = found.where(_A.closed_us.is_(None), _A.until_us.is_(None) | (_A.until_us > now_us))
    rows = await conn.execute(page(found, (_A.opened_us, _A.id), after=after, limit=limit))
    return [AlertRow(**row._mapping) for row in rows]


async def forget_before(store: Store, before_us: int) -> int:
    """Delete alerts that were over before then, a slice at a time; how many."""
    return await forget(store, _A.id, (_A.closed_us < before_us) | (_A.until_us < before_us))
