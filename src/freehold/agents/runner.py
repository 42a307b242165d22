"""Sessions as the work of a driver: one loop per lease, and what it takes up again when a lease comes back.

A folded session is kept for a while after it went idle, so that the next turn reads only what is new. The log is
immutable, so what was folded stays right, whoever wrote the rest.
"""

from __future__ import annotations

from collections import OrderedDict

from freehold.agents.events import Voice
from freehold.agents.log import Change, Idle, Log, LogParts, Reads, inbox
from freehold.agents.loop import Loop, Parts
from freehold.agents.session import Session
from freehold.agents.usage import stored
from freehold.jobs import chaos
from freehold.store.engine import Store
from freehold.store.session_log import Lease, Move

MOST_FAILURES = 4
"""Times in a row that a loop may fail inside the server before its session is brought to rest."""
_MOST_KEPT = 256
_LONGEST_KEPT = 5000
"""Rows of a session that is still worth its memory while it is idle."""
MOST_KEPT_BYTES = 256 << 20
"""Of all of them together: a message may hold 32 MB of images."""


class Folded:
    """Sessions that went idle here, as they were folded."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._bytes = 0

    def take(self, session_id: str) -> Session | None:
        """The session as it was; it is not kept any more."""
        session = self._sessions.pop(session_id, None)
        self._bytes -= 0 if session is None else session.stored_bytes
        return session

    def keep(self, session_id: str, session: Session) -> None:
        """It may be needed again soon."""
        if session.seq <= _LONGEST_KEPT:
            self.take(session_id)
            self._sessions[session_id] = session
            self._bytes += session.stored_bytes
            while len(self._sessions) > _MOST_KEPT or self._bytes > MOST_KEPT_BYTES:
                self.take(next(iter(self._sessions)))


class Runner:
    """Makes the work for a lease. `Driver(…, make=runner.work)`."""

    def __init__(self, store: Store, parts: Parts) -> None:
        self._log_parts = LogParts(store, Reads(store), parts.clock, parts.tell)
        self._parts = parts
        self._folded = Folded()

    def work(self, lease: Lease) -> SessionWork:
        """What there is to do under that lease."""
        return SessionWork(self._log_parts, self._parts, self._folded, lease)


class SessionWork:
    """One session under one lease; see `jobs.driver.Work`."""

    def __init__(self, log_parts: LogParts, parts: Parts, folded: Folded, lease: Lease) -> None:
        self._log_parts = log_parts
        self._parts = parts
        self._folded = folded
        self._lease = lease
        self._loop: Loop | None = None
        self._stopping = False

    async def run(self) -> bool:
        """See `Work`."""
        chaos.point("after_acquire")
        session_id = self._lease.session_id
        log = await Log.load(self._log_parts, self._lease, self._folded.take(session_id))
        if log is None or self._stopping:
            return log is None
        self._loop = Loop(self._parts, log)
        await self._loop.run()
        rests = log.session.status != "running"
        if rests:
            self._folded.keep(session_id, log.session)
        return rests

    def stop(self) -> None:
        """See `Work`."""
        self._stopping = True
        if self._loop is not None:
            self._loop.stop()
            self._log_parts.store.wakes.signal([inbox(self._lease.session_id)])

    async def give_up(self, failures: int) -> bool:
        """After so many failures inside the server: say so in the log, close what is open, and rest.

        It is written without the loop, which is what failed.
        """
        if failures < MOST_FAILURES:
            return False
        log = await Log.load(self._log_parts, self._lease, None)
        if log is None:
            return True
        voice = Voice(self._parts.ids, log.row.thread_id, log.row.agent["name"])
        text = "The server failed several times at this session; its log says how. Send a message to try again."
        drafts = [voice.failed(call, text) for call in log.session.open_calls]
        drafts.append(voice.error("unknown_error", text, "exhausted"))
        ends = [Move(call_id, "unknown" if log.started_before(call_id) else "denied") for call_id in log.journal]
        now_us = self._parts.clock.now_us()
        idle = Idle(
            voice.idle({"type": "retries_exhausted"}, None, log.session, now_us),
            "flushed",
            (),
            {"usage": stored(log.session.tokens, log.session.active_until(now_us)), "wake_at_us": None},
        )
        return await log.write_idle(Change(drafts, ends), idle, whole=True)
