"""Rows of work items: sessions whose tools run on somebody else's machine. What may become of one, `jobs` knows.

At most one item per session lives (is not stopped); an index holds that. Whoever makes one has locked the session's
row, and whoever changes one locks the session first: so both never wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import NotFound
from freehold.store.keyset import page as page_of
from freehold.store.tables import events, sessions, tool_calls, work_items, work_tokens

State = Literal["queued", "starting", "active", "stopping", "stopped"]
_LIVES = work_items.c.state != "stopped"
_TOKENS_KEPT = 3
"""Generations whose tokens are still recognised, so that a worker which lost an item is told so."""


def work_key(environment_id: str) -> str:
    """What is signalled when an environment may have work."""
    return f"work/{environment_id}"


@dataclass(frozen=True, slots=True)
class WorkRow:
    """One item. See `tables.work_items` for the columns."""

    id: str
    workspace_id: str
    environment_id: str
    session_id: str
    state: State
    generation: int
    fruitless: int
    metadata: dict[str, str]
    due_us: int
    lease_until_us: int
    polled_us: int | None
    acknowledged_us: int | None
    started_us: int | None
    heartbeat_us: int | None
    answered_us: int | None
    stop_requested_us: int | None
    stopped_us: int | None
    created_us: int


@dataclass(frozen=True, slots=True)
class Held:
    """What a token stands for."""

    item: WorkRow
    current: bool
    """The item was not handed out again since."""


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How an environment's queue stands."""

    waiting: int
    pending: int
    """Handed out and not acknowledged."""
    oldest_us: int | None


def new_item(work_id: str, owner: Any, now_us: int, *, due_us: int | None = None, fruitless: int = 0) -> WorkRow:
    """An item that waits. `owner`: the session's row, or another item of the same session."""
    session_id = owner.session_id if isinstance(owner, WorkRow) else owner.id
    nothing = (None,) * 7
    due = now_us if due_us is None else due_us
    return WorkRow(
        work_id,
        owner.workspace_id,
        owner.environment_id,
        session_id,
        "queued",
        0,
        fruitless,
        {},
        due,
        0,
        *nothing,
        now_us,
    )


async def ensure(connection: AsyncConnection, item: WorkRow) -> bool:
    """Put the item in the queue unless one of its session lives. The session's row is locked. True: it was put."""
    if await living(connection, item.session_id) is not None:
        return False
    values = {name: getattr(item, name) for name in WorkRow.__slots__}
    await connection.execute(insert(work_items).values(**{**values, "metadata": "{}"}))
    return True


async def living(connection: AsyncConnection, session_id: str) -> WorkRow | None:
    """The item of a session that is not stopped."""
    found = await connection.execute(select(work_items).where(work_items.c.session_id == session_id, _LIVES))
    return _row(found.first())


async def handed(connection: AsyncConnection, environment_id: str) -> list[WorkRow]:
    """The items of an environment that workers have."""
    out = or_(work_items.c.state != "queued", work_items.c.polled_us.is_not(None))
    mine = select(work_items).where(work_items.c.environment_id == environment_id, _LIVES, out)
    return [row for row in map(_row, await connection.execute(mine)) if row is not None]


async def read(connection: AsyncConnection, workspace_id: str, environment_id: str, work_id: str) -> WorkRow:
    """Raises `NotFound`."""
    mine = (
        work_items.c.id == work_id,
        work_items.c.workspace_id == workspace_id,
        work_items.c.environment_id == environment_id,
    )
    found = _row((await connection.execute(select(work_items).where(*mine))).first())
    if found is None:
        raise NotFound(f"The environment {environment_id} has no work item {work_id!r}.")
    return found


async def lock(connection: AsyncConnection, work_id: str) -> WorkRow | None:
    """The item as it is, which nobody else can change until this operation is committed; its session's row, too."""
    session_id = (await connection.execute(select(work_items.c.session_id).where(work_items.c.id == work_id))).scalar()
    if session_id is None:
        return None
    await connection.execute(select(sessions.c.id).where(sessions.c.id == session_id).with_for_update())
    return _row(
        (await connection.execute(select(work_items).where(work_items.c.id == work_id).with_for_update())).first()
    )


async def change(connection: AsyncConnection, work_id: str, values: Mapping[str, Any]) -> WorkRow:
    """Set columns of an item that is locked, and give it as it is then."""
    stored = {name: _encoded(value) if name == "metadata" else value for name, value in values.items()}
    changed = update(work_items).where(work_items.c.id == work_id).values(**stored).returning(*work_items.c)
    found = _row((await connection.execute(changed)).first())
    assert found is not None
    return found


async def page(
    connection: AsyncConnection, environment_id: str, *, after: Sequence[Any] | None, limit: int
) -> list[WorkRow]:
    """Those made last first; one row more than `limit` if there are more."""
    query = select(work_items).where(work_items.c.environment_id == environment_id)
    found = await connection.execute(
        page_of(query, (work_items.c.created_us, work_items.c.id), after=after, limit=limit)
    )
    return [row for row in map(_row, found) if row is not None]


def is_ripe(item: WorkRow, now_us: int, reclaim_us: int) -> bool:
    """Whether an item may be handed out: it waits, or whoever had it has let go. As `_ripe` says it in SQL."""
    if item.state == "queued":
        return item.due_us <= now_us if item.polled_us is None else item.polled_us <= now_us - reclaim_us
    return item.state in ("starting", "active") and item.lease_until_us <= now_us


def _ripe(environment_id: str, now_us: int, reclaim_us: int) -> ColumnElement[bool]:
    waits = work_items.c.polled_us.is_(None) & (work_items.c.due_us <= now_us)
    unacknowledged = work_items.c.polled_us <= now_us - reclaim_us
    abandoned = work_items.c.state.in_(("starting", "active")) & (work_items.c.lease_until_us <= now_us)
    free = or_(and_(work_items.c.state == "queued", or_(waits, unacknowledged)), abandoned)
    return and_(work_items.c.environment_id == environment_id, free)


def _lapsed(environment_id: str, now_us: int) -> ColumnElement[bool]:
    """Whether an item was to be stopped by a worker that is gone."""
    stopping = (work_items.c.state == "stopping") & (work_items.c.lease_until_us <= now_us)
    return and_(work_items.c.environment_id == environment_id, stopping)


async def has_ripe(connection: AsyncConnection, environment_id: str, now_us: int, reclaim_us: int) -> bool:
    """Whether `ripe` or `lapsed` would give something."""
    some = or_(_ripe(environment_id, now_us, reclaim_us), _lapsed(environment_id, now_us))
    return (await connection.execute(select(work_items.c.id).where(some).limit(1))).first() is not None


async def ripe(connection: AsyncConnection, environment_id: str, now_us: int, reclaim_us: int) -> str | None:
    """The id of the item that has waited longest. Lock it, and see whether it is still there to be had."""
    found = select(work_items.c.id).where(_ripe(environment_id, now_us, reclaim_us))
    return (await connection.execute(found.order_by(work_items.c.due_us, work_items.c.id).limit(1))).scalar()


async def lapsed(connection: AsyncConnection, environment_id: str, now_us: int) -> list[str]:
    """The ids of items that a worker was to stop, and it is gone."""
    found = select(work_items.c.id).where(_lapsed(environment_id, now_us)).order_by(work_items.c.id)
    return list((await connection.execute(found)).scalars())


async def add_token(connection: AsyncConnection, item: WorkRow, sha256: str) -> None:
    """A token for the item as it was just handed out; long void ones are forgotten."""
    old = (work_tokens.c.work_id == item.id, work_tokens.c.generation <= item.generation - _TOKENS_KEPT)
    await connection.execute(delete(work_tokens).where(*old))
    row = {"sha256": sha256, "work_id": item.id, "generation": item.generation}
    await connection.execute(insert(work_tokens).values(**row))


async def held(connection: AsyncConnection, sha256: str) -> Held | None:
    """What the token with that hash stands for."""
    mine = select(work_tokens.c.generation, work_items).join(work_items).where(work_tokens.c.sha256 == sha256)
    found = (await connection.execute(mine)).first()
    item = _row(found)
    if found is None or item is None:
        return None
    return Held(item, found[0] == item.generation)


async def counts(connection: AsyncConnection, environment_id: str) -> QueueCounts:
    """How the queue of an environment stands."""
    queued = (work_items.c.environment_id == environment_id, work_items.c.state == "queued")
    columns = (func.count(), func.count(work_items.c.polled_us), func.min(work_items.c.created_us))
    every, pending, oldest_us = (await connection.execute(select(*columns).where(*queued))).one()
    return QueueCounts(every - pending, pending, oldest_us)


async def wants_worker(connection: AsyncConnection, session_id: str) -> bool:
    """Whether somebody must attend to the session: it runs, or calls that a worker answers are open."""
    status = (await connection.execute(select(sessions.c.status).where(sessions.c.id == session_id))).scalar()
    if status in ("running", "rescheduling"):
        return True
    if status != "idle":
        return False
    return bool(await waiting_calls(connection, session_id))


async def waiting_calls(connection: AsyncConnection, session_id: str) -> list[str]:
    """The calls of a session that only a worker can answer, by their events' ids, in order."""
    waits = (
        tool_calls.c.session_id == session_id,
        tool_calls.c.state == "planned",
        tool_calls.c.policy == "client",
        events.c.type == "agent.tool_use",
    )
    joined = tool_calls.join(events, events.c.id == tool_calls.c.event_id)
    found = select(tool_calls.c.event_id).select_from(joined).where(*waits).order_by(events.c.seq)
    return list((await connection.execute(found)).scalars())


async def is_resting(connection: AsyncConnection, session_id: str, since_us: int) -> bool:
    """Whether nothing has happened in a session since then, and no worker can make anything happen."""
    rests = (sessions.c.id == session_id, sessions.c.status == "idle", sessions.c.updated_us <= since_us)
    if (await connection.execute(select(sessions.c.id).where(*rests))).first() is None:
        return False
    return not await waiting_calls(connection, session_id)


async def note_answer(connection: AsyncConnection, session_id: str, now_us: int) -> None:
    """A result came: whoever does this work gets somewhere."""
    mine = (work_items.c.session_id == session_id, _LIVES)
    await connection.execute(update(work_items).where(*mine).values(answered_us=now_us))


async def end_session(connection: AsyncConnection, session_id: str, now_us: int, *, deleted: bool) -> None:
    """The session has ended: what waits for it is done, and whoever attends to it is to stop."""
    mine = (work_items.c.session_id == session_id, _LIVES)
    nobody = work_items.c.state == "queued"
    stopped = {"state": "stopped", "stopped_us": now_us, "stop_requested_us": now_us}
    await connection.execute(update(work_items).where(*mine, *(() if deleted else (nobody,))).values(**stopped))
    await connection.execute(update(work_items).where(*mine).values(state="stopping", stop_requested_us=now_us))


def _row(row: Row[Any] | None) -> WorkRow | None:
    if row is None:
        return None
    values = row._mapping
    known = {name: values[work_items.c[name]] for name in WorkRow.__slots__}
    return WorkRow(**{**known, "metadata": msgspec.json.decode(known["metadata"])})


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()
