"""What a stranger may do on a connection before there is a request, or while nobody reads: bounded in size and time.

Uvicorn bounds neither the head of a request nor the patience with a client that sends half of one, or takes nothing of
its answer, and answers broken HTTP in plain text. One look at all connections now and then does for time what a timer
for each of them would do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from freehold.api.transport import GatheringTransport
from freehold.errors import FreeholdError, HeadersTooLarge, InvalidRequest, RequestTimedOut
from freehold.ids import new_id
from freehold.wire.envelopes import error_body

HEAD_BYTES = 65_536
"""The request line and headers of one request: as much as the SDKs' largest, several times."""
_LINGER_S = 1.0
"""How long what a refused client still sends is read and thrown away."""
_REASONS = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class GatheringProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol on such a transport."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(cast(asyncio.Transport, GatheringTransport(cast(asyncio.Transport, transport))))


class StrictProtocol(GatheringProtocol):
    """See the module."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._refused = False

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._refused:
            return
        super().data_received(data)
        self.count_head(len(data))

    def count_head(self, size: int) -> None:
        """So many bytes came."""
        if not self.is_in_head():
            self._head_bytes = 0
            return
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES:
            self.refuse(HeadersTooLarge(f"The head of this request is longer than {HEAD_BYTES:,} bytes."))

    def send_400_response(self, msg: str) -> None:
        """Uvicorn's answer to what is no HTTP."""
        self.refuse(InvalidRequest("This is not a valid HTTP/1.1 request."))

    def refuse(self, error: FreeholdError) -> None:
        """Answer with Claude's envelope and close; close only, where another answer is under way."""
        if not self.transport.is_closing() and not self.is_answering():
            request_id = new_id("req")
            body = error_body(error, request_id)
            head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nrequest-id: %b\r\n" % (
                error.status,
                _REASONS[error.status],
                len(body),
                request_id.encode("ascii"),
            )
            self._refused = True
            self.transport.write(head + b"connection: close\r\n\r\n" + body)
            loop = asyncio.get_running_loop()
            loop.call_soon(self._say_no_more)
            loop.call_later(_LINGER_S, self.transport.close)
        elif not self._refused:
            self.transport.close()

    def _say_no_more(self) -> None:
        """Behind the answer: to close while its request still comes would take the answer from the client's hands."""
        if not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()

    def is_in_head(self) -> bool:
        """Whether a request has begun and its head is not whole yet."""
        return self.scope is not None and "method" not in self.scope

    def is_answering(self) -> bool:
        """Whether a request is here whole or in part that is not answered to its end."""
        return self.cycle is not None and not self.cycle.response_complete

    def is_resting(self) -> bool:
        """Whether it is between two requests."""
        return self.timeout_keep_alive_task is not None

    def waits_for(self) -> tuple[object, ...] | None:
        """What nobody but the client can bring about now, as a value that is the same until it does; or `None`."""
        cycle = self.cycle
        if self._refused:
            return None
        if cycle is None or cycle.response_complete:
            # An idle connection between two requests has uvicorn's own timer.
            return None if self.is_resting() else ("head", id(cycle))
        if self.flow.write_paused:
            return ("reading", id(cycle), cast(asyncio.WriteTransport, self.transport).get_write_buffer_size())
        return None


class Watch:
    """Looks at all connections, and lets those go that have kept us waiting for too long."""

    def __init__(self, head_patience_s: float, reader_patience_s: float) -> None:
        self._patience_s = {"head": head_patience_s, "reading": reader_patience_s}
        self._since: dict[StrictProtocol, tuple[tuple[object, ...], float]] = {}

    async def run(self, connections: Iterable[object]) -> None:
        """Look, until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(self._patience_s.values()) / 4)
            self.look([one for one in connections if isinstance(one, StrictProtocol)], loop.time())

    def look(self, connections: Iterable[StrictProtocol], now_s: float) -> None:
        """Look once."""
        seen: dict[StrictProtocol, tuple[tuple[object, ...], float]] = {}
        for connection in connections:
            waits = connection.waits_for()
            if waits is None:
                continue
            before, since_s = self._since.get(connection, (None, now_s))
            if before != waits:
                since_s = now_s
            if now_s - since_s >= self._patience_s[str(waits[0])]:
                _let_go(connection)
            else:
                seen[connection] = (waits, since_s)
        self._since = seen


def _let_go(connection: StrictProtocol) -> None:
    if connection.is_in_head():
        connection.refuse(RequestTimedOut("The head of this request did not come in time."))
    else:
        connection.transport.abort()
