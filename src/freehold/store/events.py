"""Reading a session's events: behind a place of the log, by id, by page, and those that still wait.

Nothing here writes; that is `session_log.py`, which offers these functions too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import BigInteger, ColumnElement, Integer, String, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.tables import events as events_table
from freehold.store.tables import queued_events

# Made once: building a statement costs several times what running it does.
_SESSION = bindparam("session", type_=String())
_MOST = bindparam("most", type_=Integer())
_WAITING = select(queued_events).where(queued_events.c.session_id == _SESSION).order_by(queued_events.c.position)
_WAITING_SOME = _WAITING.limit(_MOST)
_BEHIND = events_table.c.seq > bindparam("behind", type_=BigInteger())
_AFTER = select(events_table).where(events_table.c.session_id == _SESSION, _BEHIND).order_by(events_table.c.seq)
_AFTER_SOME = _AFTER.limit(_MOST)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event stands in the list: in the log by `seq`, or behind it among the waiting by position."""

    waiting: bool
    number: int


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it is stored: of the log, or still waiting (`seq` and `processed_us` are `None`)."""

    id: str
    type: str
    body: str
    hidden: str | None
    seq: int | None
    processed_us: int | None
    place: Place


async def waiting(conn: AsyncConnection, session_id: str, *, limit: int | None = None) -> list[Event]:
    """The events that wait, oldest first."""
    if limit is None:
        rows = await conn.execute(_WAITING, {"session": session_id})
    else:
        rows = await conn.execute(_WAITING_SOME, {"session": session_id, "most": limit})
    return [_waiting(row) for row in rows]


async def after(conn: AsyncConnection, session_id: str, seq: int, *, limit: int | None = None) -> list[Event]:
    """The log behind `seq`, in order: what a stream or a fold reads."""
    if limit is None:
        rows = await conn.execute(_AFTER, {"session": session_id, "behind": seq})
    else:
        rows = await conn.execute(_AFTER_SOME, {"session": session_id, "behind": seq, "most": limit})
    return [_logged(row) for row in rows]


async def event(conn: AsyncConnection, session_id: str, event_id: str) -> Event | None:
    """One event by its id, from the log or from among the waiting."""
    which = (events_table.c.session_id == session_id, events_table.c.id == event_id)
    if row := (await conn.execute(select(events_table).where(*which))).one_or_none():
        return _logged(row)
    which = (queued_events.c.session_id == session_id, queued_events.c.id == event_id)
    row = (await conn.execute(select(queued_events).where(*which))).one_or_none()
    return _waiting(row) if row else None


async def page(
    conn: AsyncConnection,
    session_id: str,
    *,
    limit: int,
    behind: Place | None = None,
    newest_first: bool = False,
    types: Collection[str] = (),
    processed: Mapping[Literal["gt", "gte", "lt", "lte"], int] = {},
) -> list[Event]:
    """At most `limit` events of the list (the log, then what waits; or all of it backwards), beginning behind a place.

    `types` keeps only these, `processed` only those processed then (microseconds), which none that waits was. Ask on a
    connection of `Store.read`: its one moment shows no event twice and misses none that moves into the log.
    """
    wanted = _Wanted(behind, newest_first, types, processed)
    found: list[Event] = []
    for source in (_page_of_waiting, _page_of_log) if newest_first else (_page_of_log, _page_of_waiting):
        if len(found) < limit:
            found += await source(conn, session_id, limit - len(found), wanted)
    return found


@dataclass(frozen=True, slots=True)
class _Wanted:
    behind: Place | None
    newest_first: bool
    types: Collection[str]
    processed: Mapping[Literal["gt", "gte", "lt", "lte"], int]

    def bound(
        self, column: ColumnElement[int], *, waiting: bool
    ) -> tuple[list[ColumnElement[bool]], ColumnElement[int]]:
        """The condition that the place puts on this column, and the order by it."""
        order = column.desc() if self.newest_first else column.asc()
        if self.behind is None or self.behind.waiting is not waiting:
            return [], order
        return [column < self.behind.number if self.newest_first else column > self.behind.number], order


async def _page_of_log(conn: AsyncConnection, session_id: str, limit: int, wanted: _Wanted) -> list[Event]:
    if wanted.behind is not None and wanted.behind.waiting and not wanted.newest_first:
        return []
    conditions, order = wanted.bound(events_table.c.seq, waiting=False)
    conditions += [events_table.c.session_id == session_id, *_bounds(events_table.c.processed_us, wanted.processed)]
    if wanted.types:
        conditions.append(events_table.c.type.in_(list(wanted.types)))
    found = select(events_table).where(*conditions).order_by(order).limit(limit)
    return [_logged(row) for row in await conn.execute(found)]


async def _page_of_waiting(conn: AsyncConnection, session_id: str, limit: int, wanted: _Wanted) -> list[Event]:
    past = wanted.behind is not None and not wanted.behind.waiting and wanted.newest_first
    if wanted.processed or past:
        return []
    conditions, order = wanted.bound(queued_events.c.position, waiting=True)
    conditions.append(queued_events.c.session_id == session_id)
    if wanted.types:
        conditions.append(queued_events.c.type.in_(list(wanted.types)))
    found = select(queued_events).where(*conditions).order_by(order).limit(limit)
    return [_waiting(row) for row in await conn.execute(found)]


def _bounds(
    column: ColumnElement[int], bounds: Mapping[Literal["gt", "gte", "lt", "lte"], int]
) -> list[ColumnElement[bool]]:
    made = {
        "gt": lambda us: column > us,
        "gte": lambda us: column >= us,
        "lt": lambda us: column < us,
        "lte": lambda us: column <= us,
    }
    return [made[name](us) for name, us in bounds.items()]


def _logged(row: Any) -> Event:
    return Event(row.id, row.type, row.body, row.hidden, row.seq, row.processed_us, Place(False, row.seq))


def _waiting(row: Any) -> Event:
    return Event(row.id, row.type, row.body, None, None, None, Place(True, row.position))
