"""Reading routing decisions, which stand in the rows of calls. Does not know what they mean."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select

from freehold.store.engine import Store
from freehold.store.tables import calls

_C = calls.c
MOST_LOOKED_AT = 50_000
"""Calls of a workspace among which the newest decisions are looked for."""


class DecisionRow(NamedTuple):
    """What was decided about a call: see `store/tables.py`."""

    call_id: str
    alias: str
    decided: str
    made_us: int


_COLUMNS = (_C.id, _C.model_asked, _C.decided, _C.started_us)


class RouteDecisions:
    """Decisions of all processes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def last_about(self, conversation: str) -> str | None:
        """The decision that has moved that conversation last; `None`: there is none."""
        found = select(_C.decided).where(_C.conversation == conversation).order_by(_C.started_us.desc()).limit(1)
        async with self._store.read() as conn:
            decided: str | None = await conn.scalar(found)
        return decided

    async def get(self, workspace_id: str, call_id: str) -> DecisionRow | None:
        """That about one call of that workspace."""
        await self._store.flush()
        found = select(*_COLUMNS).where(_C.id == call_id, _C.workspace_id == workspace_id, _C.decided.is_not(None))
        async with self._store.read() as conn:
            row = (await conn.execute(found)).first()
        return DecisionRow(*row) if row is not None else None

    async def newest(self, workspace_id: str, limit: int) -> list[DecisionRow]:
        """The newest decisions of that workspace, newest first."""
        await self._store.flush()
        late = select(*_COLUMNS).where(_C.workspace_id == workspace_id).order_by(_C.started_us.desc())
        some = late.limit(MOST_LOOKED_AT).subquery()
        found = select(some).where(some.c.decided.is_not(None)).order_by(some.c.started_us.desc()).limit(limit)
        async with self._store.read() as conn:
            return [DecisionRow(*row) for row in await conn.execute(found)]
