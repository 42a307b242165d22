"""A lean HTTP/1.1 client for one origin: a last-in-first-out pool of connections, and answers that live in a context.

Made for the gateway's hot path (measured: a third of the CPU of the next best client). It knows nothing of Claude.
It follows no redirects, keeps no cookies and decodes no bodies: bytes come out as they came in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, cast

from freehold.calls import Headers
from freehold.outbound.connection import Connection
from freehold.outbound.dial import Dials, Origin
from freehold.outbound.limits import Limits
from freehold.outbound.reading import pour, read, read_all


class Answer:
    """Status and headers (names in lower case) of an answer, and its body as it arrives. Lives in its context."""

    __slots__ = ("_connection", "headers", "status")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.status: int = connection.status
        self.headers: Headers = connection.headers

    def read(self) -> Coroutine[Any, Any, bytes]:
        """`await read()`: the body's next bytes, all that have come; empty at its end."""
        return read(self._connection)

    def pour(self, sink: Callable[[bytes], bool]) -> Coroutine[Any, Any, bool]:
        """`await pour(sink)`: the body's bytes to `sink` as they come. See `reading.pour`."""
        return pour(self._connection, sink)

    def read_all(self) -> Coroutine[Any, Any, bytes]:
        """`await read_all()`: the rest of the body at once."""
        return read_all(self._connection)

    def rest_of_body(self) -> bytes | None:
        """The same without waiting, if it is all here already; else `None`."""
        return self._connection.rest_of_body()

    def header(self, name: bytes) -> bytes | None:
        """The first value of that header (name in lower case)."""
        return next((value for key, value in self.headers if key == name), None)


class Client:
    """Exchanges with one origin, as many at a time as are begun; each idle connection is used again, newest first.

    `idle_connections` bounds the pool, not the traffic.
    """

    def __init__(
        self, origin: Origin, dialer: Dials, *, limits: Limits | None = None, idle_connections: int = 512
    ) -> None:
        self.origin = origin
        self._dialer = dialer
        self._limits = limits or Limits()
        self._idle_connections = idle_connections
        self._idle: dict[Connection, None] = {}  # ordered: the newest is last
        self._all: set[Connection] = set()
        self._closed = False

    def exchange(self, head: bytes, body: bytes = b"", streamed: bool = False) -> Exchange:
        """One request and its answer, as a context: `async with client.exchange(head, body) as answer`.

        `head` is the request line and headers with the final blank line; it must state `content-length` itself.
        `streamed`: the answer is expected bit by bit, so `Limits.stall_s` bounds the silence instead of `silence_s`.
        Leaving the context before the answer was read to its end closes the connection at once.

        Raises:
            WayOutFailed: on entering or reading; `attempted` says whether anything had been sent.
        """
        return Exchange(self, head, body, streamed)

    def resting(self) -> Connection | None:
        """The newest idle connection that still lives, if there is one."""
        while self._idle:
            connection = self._idle.popitem()[0]
            if not connection.is_stale():
                return connection
            connection.abort()
        return None

    async def fresh(self) -> Connection:
        """A new connection."""
        make = cast("Callable[[], asyncio.Protocol]", self._make)  # it is one, without the base
        connection = cast("Connection", await self._dialer.dial(self.origin, make))
        self._all.add(connection)
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep the connection for the next exchange if it is fit for one; else it is closed."""
        if connection.is_fit() and not self._closed and len(self._idle) < self._idle_connections:
            connection.rest()
            self._idle[connection] = None
        else:
            connection.abort()

    def _make(self) -> Connection:
        return Connection(self._limits, self._forget)

    def _forget(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        self._all.discard(connection)

    @property
    def open_connections(self) -> int:
        """How many connections are open now, idle ones included."""
        return len(self._all)

    @property
    def idle_connections(self) -> int:
        """How many of them wait for use."""
        return len(self._idle)

    async def close(self) -> None:
        """Close every connection, running exchanges too."""
        self._closed = True
        for connection in list(self._all):
            connection.abort()


class Conversation:
    """One request and its answer on a connection; whoever begins it ends it. `Exchange` is it as a context."""

    __slots__ = ("_body", "_client", "_connection", "_head", "_streamed")

    def __init__(self, client: Client, head: bytes, body: bytes, streamed: bool) -> None:
        self._client = client
        self._head = head
        self._body = body
        self._streamed = streamed
        self._connection: Connection | None = None

    async def begin(self) -> Connection:
        """The connection, once the answer's head is here. Raises `WayOutFailed`."""
        self._connection = connection = self._client.resting() or await self._client.fresh()
        try:
            connection.send(self._head, self._body, self._streamed)
            while not connection.got_head:
                await connection.until_head()
        except BaseException:
            connection.abort()
            raise
        return connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Let the connection go, into the pool where the answer was read to its end."""
        if self._connection is not None:
            self._client.give_back(self._connection)


class Exchange(Conversation):
    """See `Client.exchange`."""

    __slots__ = ()

    async def __aenter__(self) -> Answer:
        return Answer(await self.begin())
