"""Rows of what the prompt cache's doctor has found, and of what is learned of routes. Does not know what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.engine import Store
from freehold.store.tables import cache_habits, cache_misses

_C = cache_misses.c
_CHUNK = 200


class MissRow(NamedTuple):
    """A row, in the order of its columns; see `store/tables.py`."""

    call_id: str
    workspace_id: str
    key_id: str
    model: str
    culprit: str
    path: str
    before: str
    after: str
    lost_tokens: int
    cost_nanodollars: int
    warmed_by: str
    at_us: int


class HabitRow(NamedTuple):
    """What is known of one kind of prefix on one route; `counts` is JSON."""

    route: str
    kind: str
    counts: str
    updated_us: int


class CacheMisses:
    """Misses of all processes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, row: MissRow) -> None:
        """Keep one, behind the answer; nobody waits for it."""
        self._store.add_row(cache_misses, row)

    async def by_culprit(
        self, workspaces: Sequence[str], from_us: int | None, to_us: int | None, limit: int
    ) -> list[dict[str, Any]]:
        """The dearest culprits: by key, model, culprit and path, with sums and the newest call."""
        await self._store.flush()
        where: list[ColumnElement[bool]] = [_C.workspace_id.in_(workspaces)] if workspaces else []
        where += [_C.at_us >= from_us] if from_us is not None else []
        where += [_C.at_us < to_us] if to_us is not None else []
        by = (_C.workspace_id, _C.key_id, _C.model, _C.culprit, _C.path)
        cost = func.sum(_C.cost_nanodollars)
        found = select(
            *by,
            func.count().label("misses"),
            func.sum(_C.lost_tokens).label("lost_tokens"),
            cost.label("cost_nanodollars"),
            func.max(_C.at_us).label("last_us"),
        ).where(*where)
        async with self._store.read() as conn:
            rows = (await conn.execute(found.group_by(*by).order_by(cost.desc()).limit(limit))).mappings().all()
            return [await _with_newest(conn, dict(row)) for row in rows]


async def _with_newest(conn: AsyncConnection, row: dict[str, Any]) -> dict[str, Any]:
    same = [_C[name] == row[name] for name in ("workspace_id", "key_id", "model", "culprit", "path")]
    newest = select(_C.call_id, _C.warmed_by, _C.before, _C.after).where(*same, _C.at_us == row["last_us"]).limit(1)
    found = (await conn.execute(newest)).mappings().one()
    whole = {name: int(row[name]) for name in ("misses", "lost_tokens", "cost_nanodollars", "last_us")}
    return {**row, **whole, **found}


class HabitRows:
    """What was learned, over restarts."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, limit: int) -> list[HabitRow]:
        """The newest ones."""
        found = select(cache_habits).order_by(cache_habits.c.updated_us.desc()).limit(limit)
        async with self._store.read() as conn:
            return [HabitRow(*row) for row in await conn.execute(found)]

    async def save(self, rows: Sequence[HabitRow]) -> None:
        """Put these in the place of what was there for the same routes."""
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]

            async def op(conn: AsyncConnection, chunk: Sequence[HabitRow] = chunk) -> None:
                for row in chunk:
                    same = (cache_habits.c.route == row.route, cache_habits.c.kind == row.kind)
                    await conn.execute(delete(cache_habits).where(*same))
                await conn.execute(insert(cache_habits), [row._asdict() for row in chunk])

            await self._store.write(op)
