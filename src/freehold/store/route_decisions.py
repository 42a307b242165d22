"""Rows of routing decisions: what a call was given, and all that it was decided on. Does not know what that means."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import select

from freehold.store.engine import Store
from freehold.store.tables import route_decisions

_C = route_decisions.c


class DecisionRow(NamedTuple):
    """A row, in the order of its columns; see `store/tables.py`."""

    call_id: str
    workspace_id: str | None
    conversation: str
    alias: str
    tier: str | None
    model: str | None
    because: str
    decided: str
    made_us: int


class RouteDecisions:
    """Decisions of all processes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, row: DecisionRow) -> None:
        """Keep one, behind the answer; nobody waits for it."""
        self._store.add_row(route_decisions, row)

    async def tier_of(self, conversation: str) -> str | None:
        """The tier of the newest decision about that conversation; `None`: there is none."""
        found = select(_C.tier).where(_C.conversation == conversation, _C.tier.is_not(None))
        async with self._store.read() as conn:
            tier: str | None = await conn.scalar(found.order_by(_C.made_us.desc()).limit(1))
        return tier

    async def get(self, workspace_id: str, call_id: str) -> dict[str, Any] | None:
        """One decision of that workspace by its call, as a mapping of columns."""
        await self._store.flush()
        found = select(route_decisions).where(_C.call_id == call_id, _C.workspace_id == workspace_id)
        async with self._store.read() as conn:
            row = (await conn.execute(found)).mappings().first()
        return dict(row) if row is not None else None

    async def newest(self, workspace_id: str, limit: int) -> list[dict[str, Any]]:
        """The newest decisions of that workspace, newest first: ids of calls sort by time, which spares an index."""
        await self._store.flush()
        found = select(route_decisions).where(_C.workspace_id == workspace_id)
        async with self._store.read() as conn:
            rows = (await conn.execute(found.order_by(_C.call_id.desc()).limit(limit))).mappings().all()
        return [dict(row) for row in rows]
