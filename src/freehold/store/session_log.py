"""The one way to write a session: its row, its log, its waiting events and its tool journal. And the ways to read them.

Rules, held here and nowhere else:

1. `seq` is 1, 2, 3 … within a session, taken from the session's row under its lock: no gaps, and commit order is seq
   order, whoever appends.
2. An owner's write names its epoch. No row with that epoch: `Fenced` is raised, and since the operation failed, nothing
   of it is written. A write that succeeds renews the lease.
3. The log is immutable. A waiting event keeps its id and moves into the log in one transaction.

Recipes, each as one `store.write(op, wake=[session_id, "sessions"])`:

* a message comes (API): lock the session's row (`lock(…)`, or `sessions.read_session(…, lock=True)`); if it is idle,
  `append(…, values={"status": "running"})`, else `queue(…)`.
* a turn ends (owner): `lock(…, epoch=…)`, then `waiting(…)`; if there are any, `take_waiting(…)` and `append(…)` them;
  else `append(…, values={"status": "idle"}, release=True)`. Nothing can slip in between.
* the model answered (owner): `append(events, tool_calls=[Plan(…), …])`; then per call
  `append([], tool_calls=[Move(id, "started")])`, the effect, and `append([result], tool_calls=[Move(id, "done")])`.

This file does not know what an event means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import BigInteger, String, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from freehold.errors import InvalidRequest, NotFound
from freehold.store import tool_journal
from freehold.store.events import Event, Place, after, event, page, waiting
from freehold.store.leases import (
    LEASE_S,
    RUNNABLE,
    Fenced,
    Lease,
    abandon,
    acquire,
    acquire_some,
    database_now,
    places,
    release,
    renew,
    runnable,
    stranded,
)
from freehold.store.session_news import announce_events, is_news
from freehold.store.tables import events as events_table
from freehold.store.tables import queued_events, sessions
from freehold.store.tool_journal import Move, Plan, Policy, State, ToolCall, WrongState

__all__ = [
    "LEASE_S",
    "RUNNABLE",
    "Appended",
    "Event",
    "Fenced",
    "Head",
    "Lease",
    "Move",
    "NewEvent",
    "Place",
    "Plan",
    "Policy",
    "State",
    "ToolCall",
    "WrongState",
    "abandon",
    "acquire",
    "acquire_some",
    "after",
    "append",
    "event",
    "lock",
    "open_calls",
    "page",
    "places",
    "queue",
    "release",
    "renew",
    "runnable",
    "stranded",
    "take_waiting",
    "tool_calls",
    "waiting",
]

WAITING_MOST = 1_000
"""Events that may wait in one session; a client that sends more while the session works is refused."""
_INSERT_EVENTS = insert(events_table)
_HEAD = ("workspace_id", "status", "owner", "epoch", "last_seq", "wake_at_us", "archived_us")
_LOCK = (
    select(*(sessions.c[name] for name in _HEAD))
    .where(sessions.c.id == bindparam("session", type_=String()))
    .with_for_update()
)
_LOCK_MINE = _LOCK.where(sessions.c.epoch == bindparam("mine", type_=BigInteger()))
_OURS = frozenset(("id", "workspace_id", "epoch", "owner", "lease_until_us", "last_seq"))


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to be written. `body` is its JSON exactly as the API shows it, `hidden` JSON that only we need."""

    id: str
    type: str
    body: str
    hidden: str | None = None
    processed_us: int | None = None
    """`None`: the moment of the append."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did. `first_seq` is `last_seq + 1` if it had no events."""

    first_seq: int
    last_seq: int
    status: str
    """Of the session, after it."""
    epoch: int
    calls: Sequence[ToolCall] = ()
    """Those of `tool_calls`, as they are then."""


@dataclass(frozen=True, slots=True)
class Head:
    """A session's row, as far as this file cares."""

    session_id: str
    workspace_id: str
    status: str
    owner: str | None
    epoch: int
    last_seq: int
    wake_at_us: int | None
    archived_us: int | None


async def append(
    conn: AsyncConnection,
    session_id: str,
    events: Sequence[NewEvent],
    *,
    now_us: int,
    epoch: int | None = None,
    values: Mapping[str, str | int | None] = {},
    tool_calls: Sequence[Plan | Move] = (),
    lease_s: float = LEASE_S,
    release: bool = False,
) -> Appended:
    """Append events, set columns of the session (`values`) and move tool calls, all in one.

    With `epoch` it is the owner's write: fenced, and it renews the lease, or gives it up at once with `release`.
    Without, it is the API's, whoever owns the session.

    Raises:
        Fenced: `epoch` is not the session's any more.
        NotFound: (without `epoch`) no such session.
        WrongState: a move that the journal does not allow.
    """
    if wrong := _OURS & set(values):
        raise ValueError(f"{sorted(wrong)} are set by the log alone")
    given: dict[str, object] = {f"new_{name}": value for name, value in {"updated_us": now_us, **values}.items()}
    advance, names = _advance(
        columns=tuple(sorted({"updated_us", *values})),
        fenced=epoch is not None,
        lease="gives up" if release else "renews" if epoch is not None else "leaves",
        dialect=conn.dialect.name,
    )
    given |= {"session": session_id, "mine": epoch}
    given |= {"more": len(events), "now": now_us, "lease": round(lease_s * 1_000_000)}
    bound = {name: given[name] for name in names}
    row = (await conn.execute(advance, bound)).one_or_none()
    if row is None:
        raise _missing(session_id, epoch)
    first = row.last_seq - len(events) + 1
    if events:
        await conn.execute(_INSERT_EVENTS, _rows(session_id, events, first, row.epoch, now_us))
        if is_news(events):
            await announce_events(conn, row.workspace_id, session_id, events, now_us)
    calls = await tool_journal.write(conn, session_id, tool_calls, epoch=row.epoch, now_us=now_us)
    return Appended(first, row.last_seq, row.status, row.epoch, calls)


async def lock(conn: AsyncConnection, session_id: str, *, epoch: int | None = None) -> Head:
    """The session's row, which nobody else can change until this operation is committed.

    Raises:
        Fenced: `epoch` was given and is not the session's any more.
        NotFound: no such session.
    """
    fence = {} if epoch is None else {"mine": epoch}
    row = (await conn.execute(_LOCK if epoch is None else _LOCK_MINE, {"session": session_id, **fence})).first()
    if row is None:
        raise _missing(session_id, epoch)
    return Head(
        session_id, row.workspace_id, row.status, row.owner, row.epoch, row.last_seq, row.wake_at_us, row.archived_us
    )


async def queue(conn: AsyncConnection, session_id: str, events: Sequence[NewEvent], *, now_us: int) -> None:
    """Let events wait, in this order, behind those that wait already. Locks the session's row.

    Raises:
        NotFound: no such session.
        InvalidRequest: too many wait.
    """
    await lock(conn, session_id)
    mine = queued_events.c.session_id == session_id
    counted = select(func.count(), func.max(queued_events.c.position)).where(mine)
    count, last = (await conn.execute(counted)).one()
    if count + len(events) > WAITING_MOST:
        raise InvalidRequest(
            f"{count} events wait in {session_id} already and {WAITING_MOST} may; send the rest later."
        )
    first = max(now_us, (last or 0) + 1)  # never a number that was given before, even if the queue was empty between
    rows = [
        {
            "session_id": session_id,
            "id": e.id,
            "position": first + n,
            "type": e.type,
            "body": e.body,
            "created_us": now_us,
        }
        for n, e in enumerate(events)
    ]
    if rows:
        await conn.execute(insert(queued_events), rows)


async def take_waiting(conn: AsyncConnection, session_id: str, *, epoch: int) -> list[Event]:
    """Remove the waiting events and give them, in order; the caller appends them, by the same ids, in this op.

    Raises:
        Fenced: the session has another owner.
    """
    await lock(conn, session_id, epoch=epoch)
    taken = await waiting(conn, session_id)
    if taken:
        last = taken[-1].place.number
        mine = (queued_events.c.session_id == session_id, queued_events.c.position <= last)
        await conn.execute(delete(queued_events).where(*mine))
    return taken


async def tool_calls(conn: AsyncConnection, session_id: str, states: Sequence[State]) -> list[ToolCall]:
    """The session's tool calls in these states, in the order of their events' ids."""
    return await tool_journal.calls(conn, session_id, states)


async def open_calls(conn: AsyncConnection, session_id: str) -> list[ToolCall]:
    """The tool calls without an end: planned and started ones."""
    return await tool_journal.calls(conn, session_id, ("planned", "started"))


@lru_cache(maxsize=256)
def _advance(
    *,
    columns: tuple[str, ...],
    fenced: bool,
    lease: Literal["leaves", "renews", "gives up"],
    dialect: str,
) -> tuple[ReturningUpdate[tuple[int, str, int, str]], frozenset[str]]:
    """The statement that moves a session on, and the names of its parameters. Building costs more than running it."""
    number = BigInteger()
    changes: dict[str, Any] = {name: bindparam(f"new_{name}", type_=sessions.c[name].type) for name in columns}
    changes["last_seq"] = sessions.c.last_seq + bindparam("more", type_=number)
    which = [sessions.c.id == bindparam("session", type_=String())]
    names = {f"new_{name}" for name in columns} | {"more", "session"}
    if lease == "gives up":
        changes |= {"owner": None, "lease_until_us": 0}
    elif lease == "renews":
        now = database_now(dialect, bindparam("now", type_=number))
        changes["lease_until_us"] = now + bindparam("lease", type_=number)
        names |= {"lease"} if dialect == "postgresql" else {"lease", "now"}
    if fenced:
        which.append(sessions.c.epoch == bindparam("mine", type_=number))
        names.add("mine")
    advance = update(sessions).where(*which).values(changes)
    back = (sessions.c.last_seq, sessions.c.status, sessions.c.epoch, sessions.c.workspace_id)
    return advance.returning(*back), frozenset(names)


def _missing(session_id: str, epoch: int | None) -> Exception:
    """Why a statement on a session's row has found none."""
    return NotFound(f"There is no session {session_id}.") if epoch is None else Fenced(session_id, epoch)


def _rows(
    session_id: str, events: Sequence[NewEvent], first: int, epoch: int, now_us: int
) -> list[dict[str, str | int | None]]:
    return [
        {
            "session_id": session_id,
            "seq": first + n,
            "id": event.id,
            "type": event.type,
            "body": event.body,
            "hidden": event.hidden,
            "epoch": epoch,
            "processed_us": now_us if event.processed_us is None else event.processed_us,
        }
        for n, event in enumerate(events)
    ]
