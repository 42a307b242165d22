"""Rows of the audit log: who changed what, and when. Written in groups that nobody waits for."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.calls import TakesRows
from freehold.store.engine import Store
from freehold.store.forgetting import forget
from freehold.store.keyset import page
from freehold.store.tables import audit_log


class AuditRow(NamedTuple):
    """One request, in the order of the table's columns."""

    id: str
    at_us: int
    workspace_id: str
    key_id: str
    role: str
    method: str
    path: str
    status: int


def add(store: TakesRows, row: AuditRow) -> None:
    """Hand the row to the writer; nobody waits for it. A crash within 0.1 s loses it."""
    store.add_row(audit_log, row)


async def listed(
    conn: AsyncConnection, *, limit: int, after: tuple[int, str] | None = None, key_id: str | None = None
) -> list[AuditRow]:
    """Newest first, from behind (`at_us`, `id`) on: `limit`, and one more if more follow."""
    found = select(audit_log)
    if key_id is not None:
        found = found.where(audit_log.c.key_id == key_id)
    found = page(found, (audit_log.c.at_us, audit_log.c.id), after=after, limit=limit)
    return [AuditRow(*row) for row in await conn.execute(found)]


async def forget_before(store: Store, before_us: int) -> int:
    """Delete the rows from before that time, a slice at a time; how many."""
    return await forget(store, audit_log.c.id, audit_log.c.at_us < before_us)
