"""Sums hours and days of calls when they are over, behind all other work, and again where rows came late.

A row stands at the time at which its call began, and comes when that has ended: a batch's, hours later. So the rows
of the last days are counted again each time, and an hour that has more than were summed is summed anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Delete, Select, Table, delete, func, literal, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.clock import Clock
from freehold.store.call_sums import COUNTED, DAY_US, DIMENSIONS, HOUR_US, SUMMED, rows_summed
from freehold.store.engine import Store
from freehold.store.tables import call_sums, call_sums_made, calls

_SETTLED_US = 2 * HOUR_US
"""An hour is summed when it has been over so long: few calls take longer."""
_COUNTED_AGAIN_US = 3 * DAY_US
"""How far back rows may still come: a batch's calls end a day after they began at the latest."""
_HOURS_KEPT_US = 9 * DAY_US
"""Sums of hours are kept for pictures of a week; older ones are in the days."""
_MOST_DAYS = 3650
_AT_ONCE = 500
"""Rows of one write: nobody who waits for another is held up."""
_MADE = call_sums_made.c
_S = call_sums.c
_KEYS = ("dimension", "width_us", "from_us", "workspace_id", "value")
Values = dict[str, Any]


class CallSumming:
    """Keeps `call_sums` up to date. Any number of processes may do so: they write the same."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def tidy(self) -> None:
        """Sum what is over and not summed, newest first; forget hours that are in days."""
        await self._store.flush()
        now_us = self._clock.now_us()
        async with self._store.read() as conn:
            first = (await conn.execute(select(func.min(calls.c.started_us)))).scalar()
        if first is None:
            return
        until_us = (now_us - _SETTLED_US) // HOUR_US * HOUR_US
        today = until_us // DAY_US * DAY_US
        oldest = max(int(first) // DAY_US * DAY_US, today - _MOST_DAYS * DAY_US)
        hours_from_us = (now_us - _HOURS_KEPT_US) // DAY_US * DAY_US
        for day in range(today, oldest - 1, -DAY_US):
            until = min(until_us, day + DAY_US)
            await self._day(day, until, again=day > now_us - _COUNTED_AGAIN_US, hours=day >= hours_from_us)
        await self._forget(hours_from_us)

    async def _day(self, day_us: int, until_us: int, *, again: bool, hours: bool) -> None:
        """Its hours as far as they are over, then the day itself, if that is over."""
        whole, made = until_us == day_us + DAY_US, await self._made(day_us)
        if whole and (DAY_US, day_us) in made and not again:
            return
        counts = await self._counts(day_us, until_us)
        total = sum(counts.values())
        if whole and made.get((DAY_US, day_us)) == total:
            return
        if hours:
            new = [at for at in range(day_us, until_us, HOUR_US) if made.get((HOUR_US, at)) != counts.get(at, 0)]
            for at in (at for at in new if at in counts):
                await self._keep(await self._read(at, HOUR_US), [_mark(HOUR_US, at, counts[at])])
            await self._keep([], [_mark(HOUR_US, at, 0) for at in new if at not in counts])
        if whole:
            rows = await self._of_hours(day_us) if hours else await self._read(day_us, DAY_US)
            await self._keep(rows, [_mark(DAY_US, day_us, total)])

    async def _made(self, day_us: int) -> dict[tuple[int, int], int]:
        query = select(_MADE.width_us, _MADE.from_us, _MADE.calls)
        async with self._store.read() as conn:
            found = await conn.execute(query.where(_MADE.from_us >= day_us, _MADE.from_us < day_us + DAY_US))
            return {(int(width), int(at)): int(count) for width, at, count in found}

    async def _counts(self, from_us: int, to_us: int) -> dict[int, int]:
        """Calls of each hour, of all workspaces and of none."""
        hour = (calls.c.started_us // HOUR_US * HOUR_US).label("hour_us")
        query = select(hour, func.count()).where(calls.c.started_us >= from_us, calls.c.started_us < to_us)
        async with self._store.read() as conn:
            return {int(at): int(count) for at, count in await conn.execute(query.group_by("hour_us"))}

    async def _read(self, from_us: int, width_us: int) -> list[Values]:
        """The rows of that time, summed by everything."""
        found: list[Values] = []
        async with self._store.read() as conn:
            for name in DIMENSIONS:
                rows = await conn.execute(rows_summed(from_us, from_us + width_us, name))
                found += [_kept({**row, "dimension": name}, width_us, from_us) for row in rows.mappings()]
        return found

    async def _of_hours(self, day_us: int) -> list[Values]:
        async with self._store.read() as conn:
            rows = (await conn.execute(_hours_summed(day_us))).mappings()
            return [_kept(row, DAY_US, day_us) for row in rows]

    async def _keep(self, rows: Sequence[Values], marks: Sequence[Values]) -> None:
        """In small steps; what says that it is whole goes with the last."""
        rest = rows
        while len(rest) > _AT_ONCE:
            await self._store.write(_putting([(call_sums, _KEYS, rest[:_AT_ONCE])]))
            rest = rest[_AT_ONCE:]
        if marks:
            await self._store.write(_putting([(call_sums, _KEYS, rest), (call_sums_made, _KEYS[1:3], marks)]))

    async def _forget(self, before_us: int) -> None:
        """Hours of days that are summed: what says that they are whole, then their sums, a slice at a time."""
        marks = (_MADE.width_us == HOUR_US) & (_MADE.from_us < before_us)
        async with self._store.read() as conn:
            any_made = (await conn.execute(select(_MADE.from_us).where(marks).limit(1))).first()
        if any_made is not None:
            await self._store.write(_deleting(delete(call_sums_made).where(marks)))
        for name in DIMENSIONS:
            old = (_S.dimension == name) & (_S.width_us == HOUR_US) & (_S.from_us < before_us)
            keys = (_S.from_us, _S.workspace_id, _S.value)
            some = select(*keys).where(old).order_by(*keys).limit(_AT_ONCE)
            while True:
                async with self._store.read() as conn:
                    found = (await conn.execute(some)).all()
                if not found:
                    break
                upto = tuple_(*keys) <= tuple_(
                    *(literal(at, key.type) for at, key in zip(found[-1], keys, strict=True))
                )
                await self._store.write(_deleting(delete(call_sums).where(old, upto)))


def _putting(
    parts: Sequence[tuple[Table, Sequence[str], Sequence[Values]]],
) -> Callable[[AsyncConnection], Awaitable[None]]:
    """An operation that puts rows into tables, over those with the same keys."""

    async def op(conn: AsyncConnection) -> None:
        dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
        for table, keys, rows in parts:
            if rows:
                into: Any = dialect.insert(table)
                values = {name: into.excluded[name] for name in rows[0] if name not in keys}
                await conn.execute(into.on_conflict_do_update(index_elements=list(keys), set_=values), list(rows))

    return op


def _deleting(what: Delete) -> Callable[[AsyncConnection], Awaitable[None]]:
    async def op(conn: AsyncConnection) -> None:
        await conn.execute(what)

    return op


def _hours_summed(day_us: int) -> Select[Any]:
    sums = [func.sum(_S[name]).label(name) for name in (*COUNTED, *SUMMED)]
    query = select(_S.dimension, _S.workspace_id.label("workspace"), _S.value, *sums)
    within = (_S.width_us == HOUR_US) & (_S.from_us >= day_us) & (_S.from_us < day_us + DAY_US)
    return query.where(_S.dimension.in_(list(DIMENSIONS)), within).group_by(_S.dimension, _S.workspace_id, _S.value)


def _mark(width_us: int, from_us: int, count: int) -> Values:
    return {"width_us": width_us, "from_us": from_us, "calls": count}


def _kept(row: Mapping[str, Any], width_us: int, from_us: int) -> Values:
    sums = {name: int(row[name]) for name in (*COUNTED, *SUMMED)}
    keys = {"dimension": row["dimension"], "workspace_id": row["workspace"], "value": row["value"]}
    return {**keys, "width_us": width_us, "from_us": from_us, **sums}
