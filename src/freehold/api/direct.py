"""One Messages request on the short way past ASGI (see `front`): while its body comes in, and then its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from freehold.api.messages import Asked, MessagesRoute
from freehold.calls import Headers
from freehold.errors import FreeholdError, InvalidRequest
from freehold.wire.reads import Read, pour

_LAST_CHUNK = b"0\r\n\r\n"


class Line(Protocol):
    """The connection it comes and goes on, as far as this needs it: see `FrontProtocol`."""

    loop: asyncio.AbstractEventLoop
    transport: Any
    flow: Any
    server_state: Any

    def begin(self, body: bytes | FreeholdError) -> None:
        """The request is here whole, or this is why it cannot be."""

    def answered(self) -> None:
        """The answer is out."""


class Direct:
    """One request on the short way: while its body comes in, and then its answer (see `messages.Out`)."""

    __slots__ = (
        "_began_s",
        "_door",
        "_left",
        "_line",
        "_timer",
        "_touched_s",
        "asked",
        "begun",
        "keep_alive",
        "parts",
        "task",
    )

    def __init__(self, line: Line, door: MessagesRoute, asked: Asked, *, keep_alive: bool) -> None:
        self._line = line
        self._door = door
        self._timer: asyncio.TimerHandle | None = None
        self._left = False
        self.asked = asked
        self.keep_alive = keep_alive
        self.parts: list[bytes] = []
        self.begun = False
        self.task: asyncio.Task[None]

    # While it comes in.

    def touch(self) -> None:
        """A piece was read, and it is not the last: only such a request is given a timer."""
        loop = self._line.loop
        self._touched_s = loop.time()
        if self._timer is None:
            self._began_s = self._touched_s
            self._timer = loop.call_later(self._door.body_patience_s, self._look)

    def is_here(self) -> bytes:
        """All that has come, and no more is waited for."""
        if self._timer is not None:
            self._timer.cancel()
        parts, self.parts = self.parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _look(self) -> None:
        """Within the patience there must be another piece, and within twice that all of it."""
        loop, patience_s = self._line.loop, self._door.body_patience_s
        left_s = min(self._touched_s + patience_s, self._began_s + 2 * patience_s) - loop.time()
        if left_s > 0:
            self._timer = loop.call_later(left_s, self._look)
            return
        details = {"error_code": "request_body_timeout"}
        self.keep_alive = False
        self._line.flow.pause_reading()
        self._line.begin(InvalidRequest("The body did not come in time.", details=details))

    # While it is answered.

    async def run(self, body: bytes | FreeholdError) -> None:
        """Answer it."""
        try:
            await self._door.serve(self.asked, body, self)
        except asyncio.CancelledError:
            if not self._left:
                self._line.transport.close()
                raise

    def leave(self) -> None:
        """The client has gone."""
        self._left = True
        self.task.cancel()

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """See `Out`."""
        head = self._head(status, headers, b"content-length: %d\r\n" % len(body))
        self._line.transport.send(head, body)
        self._end()

    async def begin(self, status: int, headers: Headers) -> None:
        """See `Out`."""
        self.begun = True
        self._line.transport.write(self._head(status, headers, b"transfer-encoding: chunked\r\n"))

    async def pour(self, reads: AsyncIterator[Read], first: Callable[[], None]) -> None:
        """See `Out`."""
        flow = self._line.flow
        take = self._line.transport.chunks(flow, first)
        while not await pour(reads, take):
            await flow.drain()

    async def piece(self, data: bytes) -> None:
        """See `Out`."""
        line = self._line
        if line.flow.write_paused:
            await line.flow.drain()
        line.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        """See `Out`."""
        self._line.transport.write(_LAST_CHUNK)
        self._end()

    def _head(self, status: int, headers: Headers, framing: bytes) -> bytes:
        """The head of the answer. Raises `ValueError` where a header would begin another one."""
        if not self.keep_alive:
            framing += b"connection: close\r\n"
        pairs = self._line.server_state.default_headers + headers
        head = b"%b%b\r\n%b\r\n" % (STATUS_LINE[status], b"\r\n".join(map(b": ".join, pairs)), framing)
        breaks = len(pairs) + 3 + (not self.keep_alive)
        if head.count(b"\n") != breaks or head.count(b"\r") != breaks:
            raise ValueError("a header of the answer holds a line break")
        return head

    def _end(self) -> None:
        if not self.keep_alive:
            self._line.transport.close()
        self._line.answered()
