"""The server's HTTP protocol: uvicorn's for every route, and a short way for Messages calls past ASGI.

A Messages call that comes in the usual form (a `POST` with a length, nothing else running on its connection) is taken
from the parser straight to its route, and its answer goes from there to the socket: no scope, no messages, no queue.
Measured: 40 µs of 130 a call. Everything else, and a Messages call in any other form, goes the ordinary way; what
answers is the same `MessagesRoute`. The server is told to use `FrontProtocol` as its HTTP class.
"""

from __future__ import annotations

import asyncio
import operator
from typing import Any

import httptools

from freehold.api.direct import Direct
from freehold.api.messages import ROUTES, Asked, MessagesRoute
from freehold.api.strict_http import StrictProtocol
from freehold.errors import FreeholdError
from freehold.wire.repeated import Repeated
from freehold.wire.same_head import SameHead

_CONTINUE = b"100-continue"
_EXPECT = b"expect"
_LENGTH = b"content-length"
_name = operator.itemgetter(0)


class FrontProtocol(StrictProtocol):
    """See the module."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._doors = _doors(self.config.app)
        self._coming: Direct | None = None
        self._answering: Direct | None = None
        self._worker: asyncio.Task[None] | None = None
        self._next_one: asyncio.Future[tuple[Direct, bytes | FreeholdError]] | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self._rested_s = 0.0
        self._resting = False
        self._known = Repeated([])
        self._repeats: tuple[str, bytes, MessagesRoute] | None = None
        self._same: SameHead | None = None
        self._in_head = False
        self._in_message = False
        self._heads = 0

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`. Whoever works on an answer is told that its client has gone."""
        if self._rest_timer is not None:
            self._rest_timer.cancel()
        if self._coming is not None:
            self._coming.is_here()
            self._coming = None
        if self._answering is not None:
            self._answering.leave()
            self._answering = None
        if self._next_one is not None:
            self._next_one.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._refused:
            return
        if self._same is not None and self._resting and not self._in_message and self._is_again(self._same, data):
            return
        self._resting = False
        heads = self._heads if not self._in_message else -1
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        except httptools.HttpParserUpgrade:
            self._unsupported_upgrade_warning()
        if self._repeats is not None and self._heads == heads + 1:  # the one that these bytes begin with
            self._same = SameHead.of(data)
        if self._in_head or self._head_bytes:
            self.count_head(len(data))
        elif self._coming is not None:
            self._coming.touch()

    def shutdown(self) -> None:
        """The server stops: an answer under way is the last one of its connection."""
        direct = self._answering or self._coming
        if direct is not None:
            direct.keep_alive = False
        else:
            super().shutdown()

    # What `StrictProtocol` asks.

    def is_in_head(self) -> bool:
        """See `StrictProtocol`."""
        return self._in_head

    def is_answering(self) -> bool:
        """See `StrictProtocol`."""
        cycle = self.cycle
        return self._answering is not None or (cycle is not None and not cycle.response_complete)

    def is_resting(self) -> bool:
        """See `StrictProtocol`."""
        return self._resting

    def waits_for(self) -> tuple[object, ...] | None:
        """See `StrictProtocol`. A body that is coming has a timer of its own."""
        if self._coming is not None:
            return None
        if self._answering is not None:
            held = self.transport.get_write_buffer_size()
            return ("reading", id(self._answering), held) if self.flow.write_paused else None
        found = super().waits_for()
        return found if found is None or found[0] != "head" else ("head", self._heads)

    # What the parser tells.

    def on_message_begin(self) -> None:
        """Called by the parser. The rest of it is made where the ordinary way begins."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._length: bytes | None = None
        self._in_head = self._in_message = True
        self._repeats = self._same = None
        self._heads += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser. The length is kept apart: the rest is often that of the request before."""
        name = name.lower()
        if name == _LENGTH:
            self._length = value
        else:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._in_head = False
        path, _, query = self.url.partition(b"?")
        found = self._doors.get(path)
        if found is not None and self._is_usual(found[1]):
            name, door = found
            keep_alive = self.parser.should_keep_alive()
            if not self._known.are(self.headers):
                self._known = Repeated(self.headers)
            elif keep_alive:
                self._repeats = name, query, door
            asked = Asked(name, self._known, query, door.clock.monotonic_ns())
            self._coming = Direct(self, door, asked, keep_alive=keep_alive)
            return
        url, headers = self.url, self.headers
        if self._length is not None:
            headers.append((_LENGTH, self._length))
        super().on_message_begin()
        self.url, self.headers = url, headers
        self.expect_100_continue = any(name == b"expect" and value.lower() == _CONTINUE for name, value in headers)
        self.scope["headers"] = headers
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        if self._coming is not None:
            self._coming.parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._in_message = False
        if self._coming is not None:
            self.begin(self._coming.is_here())
        else:
            super().on_message_complete()

    def _is_again(self, same: SameHead, data: bytes) -> bool:
        """Whether these bytes are the request before with another body: then it is begun, past the parser."""
        body = same.body_of(data)
        if body is None or self._repeats is None or len(body) > self._repeats[2].body_limit_bytes:
            return False
        name, query, door = self._repeats
        self._resting = False
        self._heads += 1
        asked = Asked(name, self._known, query, door.clock.monotonic_ns())
        self._coming = Direct(self, door, asked, keep_alive=True)
        self.begin(body)
        return True

    def _is_usual(self, door: MessagesRoute) -> bool:
        parser, length = self.parser, self._length or b""
        if parser.get_method() != b"POST" or parser.should_upgrade() or _EXPECT in map(_name, self.headers):
            return False
        if not length.isdigit() or int(length) > door.body_limit_bytes or parser.get_http_version() != "1.1":
            return False
        return not self.is_answering() and not self.pipeline

    # The short way.

    def begin(self, body: bytes | FreeholdError) -> None:
        """The request that was coming is here whole, or this is why it cannot be."""
        direct, self._coming = self._coming, None
        if direct is None:
            return
        self._answering = direct
        next_one, self._next_one = self._next_one, None
        if self._worker is None or next_one is None:
            self._worker = self.loop.create_task(self._work(direct, body))
        else:
            next_one.set_result((direct, body))
        direct.task = self._worker
        self.tasks.add(self._worker)

    async def _work(self, direct: Direct, body: bytes | FreeholdError) -> None:
        """Answers one request of this connection after the other: a task for each would cost 2 µs a request."""
        try:
            while True:
                await direct.run(body)
                if self._worker is not direct.task or self.transport.is_closing():
                    return
                self.tasks.discard(direct.task)
                body = b""  # a connection that rests holds nothing of the request before: it may have been 32 MB
                self._next_one = self.loop.create_future()
                direct, body = await self._next_one
        finally:
            self.tasks.discard(direct.task)

    def answered(self) -> None:
        """The answer is out: the connection is free for the next request."""
        self._answering = None
        self.on_response_complete()

    # What uvicorn does otherwise.

    def _unset_keepalive_if_required(self) -> None:
        """There is nothing to unset: see `on_response_complete`."""

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if self._answering is not None:  # a further request before the answer to this one
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))
        else:
            super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Called when an answer is out. The next request that waits is begun, else the connection rests."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        # It rests. One timer a connection looks when it last began to: none is made or cancelled for a request.
        self._resting = True
        self._rested_s = self.loop.time()
        if self._rest_timer is None:
            self._rest_timer = self.loop.call_later(self.timeout_keep_alive, self._look_at_rest)

    def _look_at_rest(self) -> None:
        left_s = self._rested_s + self.timeout_keep_alive - self.loop.time()
        if not self._resting or left_s > 0:
            again_s = left_s if self._resting else self.timeout_keep_alive
            self._rest_timer = self.loop.call_later(again_s, self._look_at_rest)
        else:
            self._rest_timer = None
            self.timeout_keep_alive_handler()


def _doors(app: object) -> dict[bytes, tuple[str, MessagesRoute]]:
    """The Messages routes of an application, by path."""
    found = getattr(app, "bare", {})
    doors = ((path, found.get(path)) for path in ROUTES)
    return {path.encode(): (path, door) for path, door in doors if isinstance(door, MessagesRoute)}
