"""One session under one lease: its folded state, and the fenced writes that keep state and log the same.

Every write gives back a state that holds all rows so far, those that clients wrote in between included. It knows events
only as drafts and rows; what they mean is the fold's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import msgspec

from freehold.agents.events import Draft
from freehold.agents.session import Entry, Session
from freehold.agents.steps import Waiting
from freehold.clock import Clock
from freehold.store import session_log
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.session_log import Appended, Event, Lease, Move, NewEvent, Plan
from freehold.store.sessions import SessionRow, find_session

T = TypeVar("T")
Values = Mapping[str, str | int | None]


def inbox(session_id: str) -> str:
    """The key that wakes the owner of a session. Its own writes do not signal it; `session_id` itself wakes readers."""
    return f"{session_id}/in"


@dataclass(frozen=True, slots=True)
class Change:
    """One commit of the owner."""

    drafts: Sequence[Draft] = ()
    calls: Sequence[Plan | Move] = ()
    drain: bool = False
    """Take the messages that wait into the log, behind `drafts`."""
    then: Sequence[Draft] = ()
    """Behind what was taken."""
    values: Values = field(default_factory=dict)
    release: bool = False


@dataclass(frozen=True, slots=True)
class _Written:
    appended: Appended
    drafts: Sequence[Draft]
    events: Sequence[NewEvent]


@dataclass(frozen=True, slots=True)
class Idle:
    """The end of a turn: the events, and what becomes of messages that wait."""

    drafts: Sequence[Draft]
    waiting: Waiting
    begin: Sequence[Draft]
    """The events of the next turn's begin, if messages begin it at once."""
    values: Values


Tell = Callable[[str, int, Sequence[NewEvent]], None]
"""Hears what was just written: the session's id, the first place, the events. For readers in this process."""


class Reads:
    """Looks at the tables for many sessions, a few at a time: a thousand that look at once would wait too long for a
    connection, and a session whose look fails is dropped.
    """

    def __init__(self, store: Store, at_once: int = 16) -> None:
        self._store = store
        self._places = asyncio.Semaphore(at_once)

    async def look(self, op: Callable[[Connection], Awaitable[T]]) -> T:
        """See `Store.look`."""
        async with self._places:
            return await self._store.look(op)


def unheard(session_id: str, first_seq: int, events: Sequence[NewEvent]) -> None:
    """Nobody reads along."""


@dataclass(frozen=True, slots=True)
class LogParts:
    """What the logs of all sessions of a server share."""

    store: Store
    reads: Reads
    clock: Clock
    tell: Tell = unheard


class Log:
    """The state of one session and the way to write it. Made by `load`."""

    def __init__(self, parts: LogParts, lease: Lease, row: SessionRow, session: Session) -> None:
        self._tell = parts.tell
        self._store = parts.store
        self._reads = parts.reads
        self._clock = parts.clock
        self._lease = lease
        self.row = row
        self.session = session
        self.waiting = False
        """Messages waited when the tables were last looked at."""
        self.journal: dict[str, session_log.ToolCall] = {}
        """Calls without an end as the journal had them when it was loaded, by event id."""
        self._seen = -1
        self._also: Values = {}

    @classmethod
    async def load(cls, parts: LogParts, lease: Lease, folded: Session | None) -> Log | None:
        """Read what there is beyond `folded`; `None` if the session is gone."""
        seen = parts.store.wakes.version(inbox(lease.session_id))
        known = 0 if folded is None else folded.seq

        async def op(connection: Connection) -> tuple[SessionRow, _New, list[session_log.ToolCall]] | None:
            row = await find_session(connection, lease.session_id)
            if row is None:
                return None
            new = await _new(connection, row.id, known)
            return row, new, await session_log.open_calls(connection, row.id)

        found = await parts.reads.look(op)
        if found is None:
            return None
        row, new, calls = found
        log = cls(parts, lease, row, folded or Session())
        log.session.cap_cents = row.cap_cents
        log._seen = seen
        log._take(new)
        log.journal = {call.event_id: call for call in calls}
        return log

    @property
    def id(self) -> str:
        """The session's."""
        return self._lease.session_id

    @property
    def epoch(self) -> int:
        """The lease's."""
        return self._lease.epoch

    def started_before(self, call_id: str) -> bool:
        """An earlier owner has started this call, and nobody has written its end."""
        return call_id in self.journal and self.journal[call_id].state == "started"

    def may_repeat(self, call_id: str) -> bool:
        """Its tool allows it to be run again."""
        return call_id in self.journal and self.journal[call_id].policy == "retry"

    async def changed(self, timeout_s: float) -> None:
        """Return when a client has written something since the last look, or after that long; then look."""
        await self._store.wakes.changed(inbox(self.id), self._seen, timeout_s)

    async def catch_up(self) -> None:
        """Fold what others have written."""
        self._seen = self._store.wakes.version(inbox(self.id))
        known = self.session.seq
        self._take(await self._reads.look(lambda connection: _new(connection, self.id, known)))

    def also(self, values: Values) -> None:
        """Set these columns of the session with its next commit."""
        self._also = values

    async def write(self, change: Change) -> None:
        """Commit. Raises `Fenced`: then nothing was written, and nothing more may be."""
        now_us = self._clock.now_us()

        async def op(connection: Connection) -> _Written:
            return await self._append(connection, change, now_us)

        await self._fold(await self._store.write(op, wake=[self.id]), now_us)

    async def write_idle(self, before: Change, idle: Idle, *, whole: bool) -> bool:
        """Commit `before` and, in the same commit, the end of the turn, unless something came in meanwhile.

        Gives whether the turn has ended. If not, the state holds what came in, and `before` was written, or nothing
        at all if it must be `whole`.
        """
        now_us = self._clock.now_us()

        async def op(connection: Connection) -> tuple[_Written | None, bool]:
            head = await session_log.lock(connection, self.id, epoch=self.epoch)
            if whole and head.last_seq != self.session.seq:
                return None, False
            waits = bool(await session_log.waiting(connection, self.id, limit=1))
            if head.last_seq != self.session.seq:
                return await self._append(connection, before, now_us), False
            if waits and idle.waiting == "this_turn":
                return await self._append(connection, replace(before, drain=True), now_us), False
            begins = waits and idle.waiting == "next_turn"
            flushes = waits and idle.waiting == "flushed"
            ended = Change(
                drafts=[*before.drafts, *(() if flushes else idle.drafts)],
                calls=before.calls,
                drain=begins or flushes,
                then=idle.begin if begins else idle.drafts if flushes else (),
                values={**idle.values, "status": "running" if begins else "idle"},
                release=not begins,
            )
            return await self._append(connection, ended, now_us), True

        written, ended = await self._store.write(op, wake=[self.id])
        if written is None:
            await self.catch_up()
        else:
            await self._fold(written, now_us)
        return ended

    async def _append(self, connection: Connection, change: Change, now_us: int) -> _Written:
        drafts = list(change.drafts)
        if change.drain:
            taken = await session_log.take_waiting(connection, self.id, epoch=self.epoch)
            drafts += [_draft(event) for event in taken]
        drafts += change.then
        events = [new_event(draft, now_us) for draft in drafts]
        appended = await session_log.append(
            connection,
            self.id,
            events,
            now_us=now_us,
            epoch=self.epoch,
            values={**self._also, **change.values},
            tool_calls=change.calls,
            release=change.release,
        )
        return _Written(appended, drafts, events)

    async def _fold(self, written: _Written, now_us: int) -> None:
        self._also = {}
        first_seq = written.appended.first_seq
        self._tell(self.id, first_seq, written.events)
        if first_seq != self.session.seq + 1:
            await self.catch_up()
            return
        for seq, draft in enumerate(written.drafts, first_seq):
            self.session.add(draft.entry(seq, now_us))
        self.session.stored_bytes += _size(written.events)

    def _take(self, new: _New) -> None:
        for event in new.events:
            self.session.add(entry_of(event))
        self.session.stored_bytes += _size(new.events)
        self.waiting = new.waiting


@dataclass(frozen=True, slots=True)
class _New:
    """What the tables have beyond what is known."""

    events: Sequence[Event]
    waiting: bool


async def _new(connection: Connection, session_id: str, known: int) -> _New:
    events = await session_log.after(connection, session_id, known)
    return _New(events, bool(await session_log.waiting(connection, session_id, limit=1)))


def _size(events: Sequence[Event | NewEvent]) -> int:
    return sum(len(event.body) + len(event.hidden or "") for event in events)


def new_event(draft: Draft, now_us: int) -> NewEvent:
    """A draft as a row to be written."""
    hidden = None if draft.hidden is None else _text(draft.hidden)
    return NewEvent(draft.id, draft.type, _text(draft.body(now_us)), hidden, now_us)


def waiting_event(draft: Draft) -> NewEvent:
    """A draft that is to wait: it has no time yet."""
    return NewEvent(
        draft.id, draft.type, _text({"id": draft.id, "type": draft.type, "processed_at": None, **draft.fields})
    )


def entry_of(event: Event) -> Entry:
    """A row of the log for the fold."""
    if event.seq is None or event.processed_us is None:
        raise ValueError(f"{event.id} is not in the log yet")
    hidden = None if event.hidden is None else msgspec.json.decode(event.hidden)
    return Entry(event.seq, event.id, event.type, msgspec.json.decode(event.body), hidden, event.processed_us)


def _draft(event: Event) -> Draft:
    fields: dict[str, Any] = msgspec.json.decode(event.body)
    for name in ("id", "type", "processed_at"):
        fields.pop(name, None)
    return Draft(event.id, event.type, fields)


def _text(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
