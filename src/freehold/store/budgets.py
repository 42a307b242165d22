"""Rows of budgets: who may spend how much. What was spent of them stands in `store/ledger.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.keyset import page
from freehold.store.tables import budgets

Scope = Literal["organization", "workspace", "key", "user", "session", "batch"]
Unit = Literal["nanodollars", "tokens"]
Period = Literal["day", "month", "lifetime"]
Enforcement = Literal["hard", "soft"]


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One budget. `amount` is its limit in `unit`, per `period`."""

    id: str
    workspace_id: str | None
    """`None`: of the whole organisation."""
    scope: Scope
    scope_id: str | None
    """`None`: each key, user, session or batch of the workspace has this much, by itself."""
    unit: Unit
    period: Period
    timezone: str
    enforcement: Enforcement
    amount: int
    created_us: int
    updated_us: int
    archived_us: int | None = None


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Differs after every change to the budgets."""

    count: int
    archived: int
    updated_us: int | None
    amounts: int


def _row(row: object) -> BudgetRow:
    return BudgetRow(**row._mapping)  # type: ignore[attr-defined]


async def fingerprint(conn: AsyncConnection) -> Fingerprint:
    """See `Fingerprint`."""
    columns = (
        func.count(),
        func.count(budgets.c.archived_us),
        func.max(budgets.c.updated_us),
        func.coalesce(func.sum(budgets.c.amount % 1_000_000_007), 0),  # two changes within one microsecond
    )
    count, archived, updated_us, amounts = (await conn.execute(select(*columns))).one()
    return Fingerprint(count, archived, updated_us, int(amounts))


async def standing(conn: AsyncConnection) -> list[BudgetRow]:
    """Every budget that is in force."""
    return [_row(row) for row in await conn.execute(select(budgets).where(budgets.c.archived_us.is_(None)))]


async def get(conn: AsyncConnection, budget_id: str) -> BudgetRow | None:
    """One by its id, archived or not."""
    row = (await conn.execute(select(budgets).where(budgets.c.id == budget_id))).one_or_none()
    return _row(row) if row else None


async def same(conn: AsyncConnection, row: BudgetRow) -> BudgetRow | None:
    """The one in force for the same scope, unit, period and enforcement, whose limit would be changed by `row`."""
    found = select(budgets).where(budgets.c.archived_us.is_(None))
    for name in ("workspace_id", "scope", "scope_id", "unit", "period", "enforcement"):
        found = found.where(budgets.c[name].is_not_distinct_from(getattr(row, name)))
    first = (await conn.execute(found.with_for_update())).first()
    return _row(first) if first else None


async def create(conn: AsyncConnection, row: BudgetRow) -> BudgetRow:
    """A new one; its workspace must exist."""
    await conn.execute(insert(budgets), {field.name: getattr(row, field.name) for field in fields(row)})
    return row


async def change(conn: AsyncConnection, budget_id: str, **values: object) -> None:
    """Set columns of one."""
    await conn.execute(update(budgets).where(budgets.c.id == budget_id).values(**values))


async def listed(
    conn: AsyncConnection, *, limit: int, after: tuple[int, str] | None, workspace_id: str | None, organization: bool
) -> Sequence[BudgetRow]:
    """Newest first, those in force: of one workspace (with `organization`: and the organisation's), or all (`None`)."""
    found = select(budgets).where(budgets.c.archived_us.is_(None))
    if workspace_id is not None:
        own = budgets.c.workspace_id == workspace_id
        found = found.where(or_(own, budgets.c.workspace_id.is_(None)) if organization else own)
    found = page(found, (budgets.c.created_us, budgets.c.id), after=after, limit=limit)
    return [_row(row) for row in await conn.execute(found)]
