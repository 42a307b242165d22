"""What happens in sessions, live, for as many readers as there are: each log is read once, whoever listens.

A reader hears what is written after it began to listen, in the order of the log, and nothing twice. One that is slow
reads the table again instead of growing a queue. Events are sent as the bytes that are stored. It knows frames of a
stream, not HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from freehold.agents.log import Reads
from freehold.agents.previews import Piece, Previews, Watcher
from freehold.clock import Clock, rfc3339
from freehold.errors import Unavailable
from freehold.store import session_log
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.session_log import Event, NewEvent
from freehold.store.sessions import find_session, read_session
from freehold.wire.frames import frame

log = logging.getLogger(__name__)

PING_S = 15.0
"""Of silence, after which the stream says that it is alive."""
RECHECK_S = 20.0
"""A wake may be lost between processes; after this long the table is looked at anyway."""
SOON_S = 0.25
"""After events of our own: a wake for them may have hidden another one, so the table is looked at when it is quiet."""
PING = frame("ping", b'{"type":"ping"}')
KEPT = 256
"""Events of one session that its readers share; who is further behind reads the table."""
KEPT_BYTES = 16 << 20
"""Of these events together: one may hold megabytes of images."""
_READ_AT_ONCE = 32
_ENDS_PREVIEWS = frozenset({"agent.message", "span.model_request_end"})
_AFTER_PREVIEWS = _ENDS_PREVIEWS | {"agent.thinking"}
"""The event itself is the last thing that a reader gets for its id."""


@dataclass(frozen=True, slots=True)
class _Row:
    seq: int
    type: str
    frame: bytes


class _Tail:
    """The end of one session's log, followed for all its readers."""

    def __init__(self, store: Store, reads: Reads, session_id: str, last: int, kept: int) -> None:
        self._store = store
        self._reads = reads
        self._session_id = session_id
        self.last = last
        self.gone = False
        self.readers = 0
        self._most_kept = kept
        self._kept: deque[_Row] = deque()
        self._kept_bytes = 0
        self._changed = asyncio.Event()
        self._was_told = False
        self.task = asyncio.create_task(self._follow(), name=f"tail of {session_id}")

    def change(self) -> asyncio.Event:
        """Set as soon as there is more than now."""
        return self._changed

    async def after(self, seq: int) -> list[_Row]:
        """What came behind `seq`, or the beginning of it."""
        if self._kept and self._kept[0].seq <= seq + 1:
            return [row for row in self._kept if row.seq > seq]
        if seq >= self.last:
            return []

        async def op(connection: Connection) -> list[Event]:
            return await session_log.after(connection, self._session_id, seq, limit=_READ_AT_ONCE)

        return [_row(event) for event in await self._reads.look(op)]

    def offer(self, first_seq: int, events: Sequence[NewEvent]) -> None:
        """What this process has just written, so that it need not be read again; left alone if it does not fit."""
        if first_seq == self.last + 1 and events:
            self._take([_Row(seq, e.type, frame(e.type, e.body.encode())) for seq, e in enumerate(events, first_seq)])
            self._was_told = True
            self._tell()

    def end(self) -> None:
        """Let every reader look again; they find that it is over."""
        self.gone = True
        self._tell()

    async def _follow(self) -> None:
        while not self.gone:
            seen = self._store.wakes.version(self._session_id)
            try:
                if await self._read():
                    self._tell()
            except Unavailable as error:
                log.warning("the log of %s cannot be read now: %s", self._session_id, error.message)
            except Exception:  # the outer edge of a job: its readers would wait for ever
                log.exception("reading the log of %s failed; it goes on", self._session_id)
            await self._wait(seen)

    async def _wait(self, seen: int) -> None:
        """Until the table is to be looked at: somebody else has written, or it is time to make sure."""
        wakes = self._store.wakes
        while (now := await wakes.changed(self._session_id, seen, RECHECK_S)) != seen:
            await asyncio.sleep(0)  # whoever has written in this process offers it now
            if not self._was_told:
                return
            self._was_told = False
            if await wakes.changed(self._session_id, now, SOON_S) == now:
                return
            seen = now

    async def _read(self) -> bool:
        """Whether there was more, or the session is gone."""
        last = self.last

        async def op(connection: Connection) -> tuple[list[Event], bool]:
            events = await session_log.after(connection, self._session_id, last)
            return events, not events and await find_session(connection, self._session_id) is None

        events, self.gone = await self._reads.look(op)
        self._take([_row(event) for event in events if (event.seq or 0) > self.last])
        return bool(events) or self.gone

    def _take(self, rows: Sequence[_Row]) -> None:
        if rows:
            self._kept.extend(rows)
            self._kept_bytes += sum(len(row.frame) for row in rows)
            while len(self._kept) > self._most_kept or self._kept_bytes > KEPT_BYTES:
                self._kept_bytes -= len(self._kept.popleft().frame)
            self.last = rows[-1].seq

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Feed:
    """Opens streams of sessions. `close` ends them all."""

    def __init__(
        self, store: Store, previews: Previews, *, clock: Clock, ping_s: float = PING_S, kept: int = KEPT
    ) -> None:
        self._store = store
        self._reads = Reads(store)
        self._previews = previews
        self._clock = clock
        self._ping_s = ping_s
        self._kept = kept
        self._tails: dict[str, _Tail] = {}
        self._closing = asyncio.Event()

    async def open(
        self, workspace_id: str, session_id: str, kinds: frozenset[str] = frozenset()
    ) -> AsyncIterator[bytes]:
        """Frames of everything that is written from now on; `kinds` are the types to preview.

        It ends after `session.deleted`, or when the server stops. Close the iterator to stop listening.

        Raises:
            NotFound: no such session in this workspace.
        """
        row = await self._reads.look(lambda connection: read_session(connection, workspace_id, session_id))
        return self._frames(session_id, row.last_seq, kinds)

    def offer(self, session_id: str, first_seq: int, events: Sequence[NewEvent]) -> None:
        """Take note of what this process has just written. Without it streams are right too, and later."""
        tail = self._tails.get(session_id)
        if tail is not None:
            tail.offer(first_seq, events)

    def close(self) -> None:
        """The server stops."""
        self._closing.set()
        for tail in self._tails.values():
            tail.end()

    async def _frames(self, session_id: str, last: int, kinds: frozenset[str]) -> AsyncIterator[bytes]:
        with contextlib.ExitStack() as stack:
            watcher = stack.enter_context(self._previews.watching(session_id, kinds)) if kinds else None
            tail = self._tail(session_id, last)
            try:
                reader = _Reader(tail, last, watcher)
                while True:
                    change = tail.change()
                    more = await reader.take()
                    if more:
                        yield b"".join(more)
                    elif tail.gone:
                        break
                    elif not await reader.wait(change, self._ping_s):
                        yield PING
                if not self._closing.is_set():
                    yield self._deleted(session_id)
            finally:
                self._leave(session_id, tail)

    def _tail(self, session_id: str, last: int) -> _Tail:
        tail = self._tails.get(session_id)
        if tail is None or tail.task.done():
            tail = self._tails[session_id] = _Tail(self._store, self._reads, session_id, last, self._kept)
        tail.readers += 1
        return tail

    def _leave(self, session_id: str, tail: _Tail) -> None:
        tail.readers -= 1
        if tail.readers == 0:
            tail.task.cancel()
            if self._tails.get(session_id) is tail:
                del self._tails[session_id]

    def _deleted(self, session_id: str) -> bytes:
        """The one event that is in no log, because there is none any more; its id is the same for every reader."""
        event_id = f"sevt_{session_id.partition('_')[2]}"
        body = {"id": event_id, "type": "session.deleted", "processed_at": rfc3339(self._clock.now_us())}
        return frame("session.deleted", msgspec.json.encode(body))


class _Reader:
    """One stream: where it stands in the log, and the pieces of previews that it may show."""

    def __init__(self, tail: _Tail, last: int, watcher: Watcher | None) -> None:
        self._tail = tail
        self._last = last
        self._watcher = watcher
        self._pieces: list[Piece] = []
        self._ended_at = 0
        """The place of the last event that ended a preview; pieces of earlier requests are late."""

    async def take(self) -> list[bytes]:
        """What may be sent now: what the log has, and pieces of what is being written where they belong in it."""
        rows = await self._tail.after(self._last)
        if self._watcher is not None:  # after the rows: pieces of a reply are handed out before it is in the log
            while not self._watcher.pieces.empty():
                self._pieces.append(self._watcher.pieces.get_nowait())
        frames: list[bytes] = []
        for row in rows:
            if row.type in _AFTER_PREVIEWS:
                frames += self._shown(before=row.seq)
            if row.type in _ENDS_PREVIEWS:
                self._ended_at = row.seq
            frames.append(row.frame)
            self._last = row.seq
        return frames + self._shown(before=self._last + 1)

    def _shown(self, before: int) -> list[bytes]:
        """Pieces whose place is before that row; what is too late for its event is dropped."""
        due = [piece for piece in self._pieces if piece.after_seq < before]
        self._pieces = [piece for piece in self._pieces if piece.after_seq >= before]
        on_time = [piece.body for piece in due if piece.after_seq > self._ended_at]
        return [frame(body["type"], msgspec.json.encode(body)) for body in on_time]

    async def wait(self, change: asyncio.Event, timeout_s: float) -> bool:
        """Whether something came within that time."""
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(change.wait())]
        if self._watcher is not None:
            waits.append(asyncio.ensure_future(self._piece(self._watcher)))
        try:
            done, _ = await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        return bool(done)

    async def _piece(self, watcher: Watcher) -> None:
        self._pieces.append(await watcher.pieces.get())


def _row(event: Event) -> _Row:
    return _Row(event.seq or 0, event.type, frame(event.type, event.body.encode()))
