"""One HTTP/1.1 connection, client side: bytes in, answer out. It does not know pools, retries, or what is in a body.

The hot path of the gateway runs through here once per read, so it keeps to a few rules: one future at a time, woken
once per read and only when its waiter can go on; no task, no timer per exchange (one lazy timer per connection looks
at the time of the last read); parts are joined once. What waits for it stands in `reading.py`.
"""

from __future__ import annotations

import asyncio
import math
import select
from collections.abc import Callable
from typing import cast

import httptools

from freehold.calls import Attempted, Headers
from freehold.outbound.failures import BrokenOff, TimedOut, WayOutFailed
from freehold.outbound.limits import Limits

_HEAD, _SOME, _ALL, _END = 1, 2, 3, 4  # what the waiter needs before it can go on
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))


class Connection:
    """A connection and the one exchange that runs on it: `send`, the head, the body to its end, or `abort`. An
    `asyncio.Protocol` in all but name: a compiled class has no base that is not compiled.
    """

    def __init__(self, limits: Limits, on_lost: Callable[[Connection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._on_lost = on_lost
        self._transport: asyncio.Transport
        self._parts: list[bytes] = []  # one list for good: the parser puts each part there by itself
        self.on_body = self._parts.append
        self._parser = httptools.HttpResponseParser(self)
        self._failure: WayOutFailed | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._needs = _HEAD
        self._sink: Callable[[bytes], bool] | None = None
        self._paused = False
        self._busy = False
        self._allowed_s = limits.silence_s
        self._touched_s = 0.0
        self.lost = False
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self._parts.clear()
        self._held_bytes = 0
        self._head_bytes = 0
        self.got_head = False
        self.done = False
        self._keep = False

    # What the client does with it.

    def send(self, head: bytes, body: bytes, streamed: bool = False) -> None:
        """Begin an exchange. `head` ends with the blank line and states the body's length."""
        self._begin()
        self._allowed_s = self._limits.stall_s if streamed else self._limits.silence_s
        self._busy = True
        self._touched_s = self._loop.time()
        if len(body) < 16_384:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def until_head(self) -> asyncio.Future[None]:
        """Await it, and again, until `got_head`: then `status` and `headers` are those of the final answer."""
        return self._next(_HEAD)

    def read_now(self) -> bytes | None:
        """The body's bytes that have come since, empty at its end; `None`: nothing has come."""
        if self._parts:
            return self._take()
        return b"" if self.done else None

    def until_some(self) -> asyncio.Future[None]:
        """Await it, and again, until `read_now` gives something."""
        return self._next(_SOME)

    def pour_to(self, sink: Callable[[bytes], bool]) -> bool:
        """Hand what is here to `sink`, and from now on what comes, in the turn in which it comes; false: the sink wants
        no more already. Then `until_poured` while `is_pouring`.
        """
        if self._parts and not sink(self._take()):
            return False
        self._sink = sink
        return True

    def is_pouring(self) -> bool:
        """More may come, and the sink wants it."""
        return not self.done and self._sink is not None

    def until_poured(self) -> asyncio.Future[None]:
        """Await it while `is_pouring`. What the sink raises comes out here."""
        return self._next(_END)

    def end_pouring(self) -> bool:
        """Nothing more is handed on; whether the sink wanted all of it."""
        sink, self._sink = self._sink, None
        return sink is not None

    def want_all(self) -> None:
        """The body is read as a whole, so nothing holds it back."""
        if self._paused:
            self._resume()

    def until_all(self) -> asyncio.Future[None]:
        """Await it, and again, until `done`."""
        return self._next(_ALL)

    def rest_of_body(self) -> bytes | None:
        """The body's bytes that were not read, if all are here."""
        if not self.done:
            return None
        return self._take() if self._parts else b""

    def is_fit(self) -> bool:
        """Whether another exchange may follow: the last answer was read to its end and nothing else is in flight."""
        return self.done and self._keep and not self.lost and self._transport.get_write_buffer_size() == 0

    def rest(self) -> None:
        """The exchange is over; from now the idle limit holds."""
        self._busy = False
        self._parts.clear()
        self._touched_s = self._loop.time()

    def is_stale(self) -> bool:
        """Whether the far end has already hung up on this resting connection (or sent what nobody asked for)."""
        if self.lost or self._transport.is_closing():
            return True
        if self._loop.time() - self._touched_s < 0.5:
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def abort(self) -> None:
        """Let the far end go at once, whatever state the exchange is in."""
        self.lost = True
        self._transport.abort()

    # What the event loop and the parser tell it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._touched_s = self._loop.time()
        self._arm()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._touched_s = self._loop.time()
        had = len(self._parts)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._refuse(error)
        if len(self._parts) == had and not self.done:  # a head; or a chunk's extension, or trailers: none has an end
            self._count_head(len(data))
        else:
            self._head_bytes = 0
            if self._sink is not None:
                self._pour_on(self._sink)
            elif self._parts:
                self._held_bytes += len(data)  # a little too much: the framing counts too
                if self._held_bytes > self._limits.buffer_bytes:
                    self._hold_back()
        if self._waiter is not None and self._is_satisfied():
            self._wake()

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`. An answer without length and chunks ends here."""
        if self.got_head and not self.done and not self._is_framed():
            self.done = True
            self._wake()
        return False

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`. A request is one write, which is taken in whole."""

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
        if self._failure is None:
            why = f" ({exc})" if exc else ""
            where = "in the middle of its answer" if self.got_head else "without an answer"
            self._failure = BrokenOff(f"the far end hung up {where}{why}", attempted=Attempted.UNANSWERED)
        self._wake()
        self._on_lost(self)

    def on_message_begin(self) -> None:
        """Called by the parser. An answer without a question would be taken for the next one's: the parser stops."""
        if self.done or not self._busy:
            raise ValueError("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self.headers.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self.got_head = True

    def on_message_complete(self) -> None:
        """Called by the parser. The only moment at which it knows whether the connection may be kept."""
        if not self.got_head:  # an interim answer (100, 103): the real one follows
            self.headers = []
            return
        self.done = True
        self._keep = self._parser.should_keep_alive()

    # Inside.

    def _next(self, needs: int) -> asyncio.Future[None]:
        """Done when that has come, or when nothing more will."""
        if self._failure is not None:
            raise self._failure
        self._needs = needs
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def _pour_on(self, sink: Callable[[bytes], bool]) -> None:
        try:
            if self._parts and not sink(self._take()):
                self._sink = None
                self._wake()
        except Exception as error:  # noqa: BLE001 (whatever it is, it is raised where it is waited for)
            self._sink = None
            waiter, self._waiter = self._waiter, None
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)

    def _is_framed(self) -> bool:
        return self.status in (204, 304) or any(name in _FRAMING for name, _ in self.headers)

    def _is_satisfied(self) -> bool:
        if self.done:
            return True
        return self.got_head and (self._needs == _HEAD or (self._needs == _SOME and bool(self._parts)))

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _take(self) -> bytes:
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._held_bytes = 0
        if self._paused:
            self._resume()
        return data

    def _hold_back(self) -> None:
        if self._needs == _ALL and self._waiter is not None:
            if self._held_bytes > self._limits.whole_bytes:
                self._fail(BrokenOff(f"its answer is larger than {self._limits.whole_bytes} bytes"))
        elif not self.done and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        self._paused = False
        self._touched_s = self._loop.time()
        if not self.lost:
            self._transport.resume_reading()

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.head_bytes:
            self._fail(BrokenOff(f"its headers are longer than {self._limits.head_bytes} bytes"))

    def _refuse(self, error: Exception) -> None:
        if self.done or not self._busy:  # the answer that was asked for is whole; what follows it is not ours
            self._keep = False
            self.abort()
        else:
            self._fail(BrokenOff(f"what came is not an HTTP/1.1 answer ({error})"))

    def _fail(self, failure: WayOutFailed) -> None:
        failure.attempted = Attempted.UNANSWERED
        if self._failure is None:
            self._failure = failure
        self.done = self._keep = False
        self.abort()
        self._wake()

    def _arm(self, left_s: float = math.inf) -> None:
        # Never further ahead than the shortest limit: which of them holds may change in between.
        limits = self._limits
        soon_s = min(left_s, limits.idle_s, limits.silence_s, limits.stall_s)
        self._timer = self._loop.call_later(max(0.001, soon_s), self._look_at_the_time)

    def _look_at_the_time(self) -> None:
        allowed_s = self._allowed_s if self._busy else self._limits.idle_s
        left_s = self._touched_s + allowed_s - self._loop.time()
        if self._paused:  # it is our reader who keeps the far end waiting
            self._arm()
        elif left_s > 0:
            self._arm(left_s)
        elif self._busy:
            self._fail(TimedOut(f"nothing came for {allowed_s:g} s"))
        else:
            self.abort()
