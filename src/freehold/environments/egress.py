"""The one way out of a box: an HTTP proxy in the server that judges the name, then the address, then dials just that.

It serves `CONNECT host:port` and `GET http://host/path`. The listener was made inside the box's own network
(`supervisor/doorway.py`), so who asks is known by the socket. A TLS connection must ask for the very name that was
allowed; plain requests leave with the `Host` that was judged, whatever the program wrote.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from freehold.environments.base import BoxFailed
from freehold.environments.clienthello import NotTls, server_name
from freehold.environments.networking import EgressSettings, NotAHostName, Policy, canonical
from freehold.environments.proxyrequest import BadRequest, Target, body, parse
from freehold.outbound.dial import Dialer, Origin
from freehold.outbound.failures import AddressRefused, TimedOut, Unreachable

log = logging.getLogger(__name__)

PORT = 3128
"""On the box's own loopback."""
MOST_CONNECTIONS = 64
"""Of one box at once."""
_HEAD_BYTES = 64 << 10
_HEAD_S = 30.0
_IDLE_S = 300.0
_READ_BYTES = 64 << 10
_TLS_PORT = 443


@dataclass(frozen=True, slots=True)
class Denial:
    """Something a box asked for and did not get."""

    session_id: str
    target: str
    reason: str


def log_denial(denial: Denial) -> None:
    """What is done with a denial when nobody else wants it."""
    log.info("%s was denied %s: %s", denial.session_id, denial.target[:300], denial.reason)


@dataclass(frozen=True, slots=True)
class _Refused(Exception):
    status: str
    reason: str


class Egress:
    """Opens proxies for boxes. `on_denied` is told of each thing that a box did not get."""

    def __init__(self, settings: EgressSettings, on_denied: Callable[[Denial], None] = log_denial) -> None:
        self.settings = settings
        self._on_denied = on_denied
        self._guarded = Dialer(public_only=True)
        self._free = Dialer(public_only=False)
        self._private = frozenset(canonical(name) for name in settings.egress_private_hosts)

    async def serve(self, session_id: str, policy: Policy, listener: socket.socket) -> Proxy:
        """Serve one box on its listener, until the proxy is closed."""
        proxy = Proxy(session_id, policy, self._dial, self._on_denied)
        await proxy.serve(listener)
        return proxy

    async def _dial(self, name: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Resolve here, judge every address, connect to one of those."""
        dialer = self._free if name in self._private else self._guarded
        made = await dialer.dial(Origin("http", name, port), _Stream)
        return made.reader, made.writer()


class Door:
    """The pair of sockets over which a box hands out the listener of its proxy."""

    def __init__(self) -> None:
        self._near, self.far = socket.socketpair()

    def listener(self) -> socket.socket:
        """What the supervisor made, after it has said that it is ready.

        Raises:
            BoxFailed: it made none.
        """
        self._near.setblocking(False)
        try:
            _, fds, _, _ = socket.recv_fds(self._near, 1, 1)
        except BlockingIOError:
            fds = []
        if not fds:
            raise BoxFailed("the box handed out no listener for its proxy")
        return socket.socket(fileno=fds[0])

    def close(self) -> None:
        """Both ends; what was taken out stays."""
        self._near.close()
        self.far.close()


Dial = Callable[[str, int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Proxy:
    """The proxy of one box."""

    def __init__(self, session_id: str, policy: Policy, dial: Dial, on_denied: Callable[[Denial], None]) -> None:
        self._session_id = session_id
        self._policy = policy
        self._dial = dial
        self._on_denied = on_denied
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def serve(self, listener: socket.socket) -> None:
        """Accept from now on."""
        listener.setblocking(False)
        self._server = await asyncio.start_server(self._accept, sock=listener, limit=_HEAD_BYTES)

    def close(self) -> None:
        """Accept no more and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._running:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            if len(self._running) > MOST_CONNECTIONS:
                raise _Refused("503 Service Unavailable", f"more than {MOST_CONNECTIONS} connections at once")
            await self._serve_one(reader, writer)
        except _Refused as refused:
            writer.write(_answer(refused))
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
            log.debug("%s: a connection ended early: %s", self._session_id, error)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._running.discard(task)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HEAD_S):
            raw = await reader.readuntil(b"\r\n\r\n")
        try:
            head = parse(raw)
            name = self._judged(head.target)
        except BadRequest as error:
            raise _Refused("400 Bad Request", str(error)) from error
        async with self._connected(name, head.target) as (upstream, out):
            if head.tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                outgoing = self._tunnelled(name, head.target.port, reader, out)
            else:
                out.write(head.forwarded(name))
                outgoing = _copied(body(head, reader), out, end=False)  # some servers take half an end for a whole
            await _both(outgoing, _copied(_pieces(upstream), writer))

    def _judged(self, target: Target) -> str:
        try:
            name = canonical(target.host)
            reason = self._policy.refusal(name, target.port)
        except NotAHostName as error:
            reason = str(error)
        if reason is not None:
            raise self._denied(target, reason)
        return name

    @contextlib.asynccontextmanager
    async def _connected(
        self, name: str, target: Target
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            upstream, out = await self._dial(name, target.port)
        except AddressRefused as error:
            raise self._denied(target, str(error)) from error
        except TimedOut as error:
            raise _Refused("504 Gateway Timeout", str(error)) from error
        except Unreachable as error:
            raise _Refused("502 Bad Gateway", str(error)) from error
        try:
            yield upstream, out
        finally:
            out.close()

    async def _tunnelled(self, name: str, port: int, reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        """From the program to the host: its first message must be TLS for that name, or no TLS on another port."""
        if not self._policy.anything:
            out.write(await self._first_message(name, port, reader))
        await _copied(_pieces(reader), out)

    async def _first_message(self, name: str, port: int, reader: asyncio.StreamReader) -> bytes:
        data = b""
        asked: str | None = None
        while asked is None:
            async with asyncio.timeout(_IDLE_S):
                piece = await reader.read(_READ_BYTES)
            data += piece
            try:
                asked = server_name(data) if piece else ""
            except NotTls as error:
                if port != _TLS_PORT and data[:1] != b"\x16":
                    return data
                raise self._denied(Target(name, port), f"not TLS: {error}") from error
            if not piece and not data:
                return b""
        if asked.lower().removesuffix(".") != name:
            raise self._denied(Target(name, port), f"the TLS connection asks for {asked[:100]!r}")
        return data

    def _denied(self, target: Target, reason: str) -> _Refused:
        self._on_denied(Denial(self._session_id, f"{target.host}:{target.port}", reason))
        return _Refused("403 Forbidden", reason)


class _Stream(asyncio.StreamReaderProtocol):
    """A connection of the dialer, as a pair of streams."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader(limit=_READ_BYTES)
        self._made: asyncio.BaseTransport | None = None
        super().__init__(self.reader)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._made = transport
        super().connection_made(transport)

    def writer(self) -> asyncio.StreamWriter:
        """After it was made."""
        assert isinstance(self._made, asyncio.WriteTransport)
        return asyncio.StreamWriter(self._made, self, self.reader, asyncio.get_running_loop())


async def _pieces(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(_IDLE_S):
            piece = await reader.read(_READ_BYTES)
        if not piece:
            return
        yield piece


async def _copied(pieces: AsyncIterator[bytes], out: asyncio.StreamWriter, *, end: bool = True) -> None:
    async for piece in pieces:
        out.write(piece)
        await out.drain()
    if end and out.can_write_eof():
        out.write_eof()


async def _both(outgoing: Awaitable[None], incoming: Awaitable[None]) -> None:
    """Both directions; when what comes in has ended, or either failed, so has the connection."""
    there, back = asyncio.ensure_future(outgoing), asyncio.ensure_future(incoming)
    try:
        await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
        if there.done() and not there.cancelled() and there.exception() is None:
            await back
    finally:
        for task in (there, back):
            task.cancel()
        results = await asyncio.gather(there, back, return_exceptions=True)
    for result in results:
        if isinstance(result, OSError | _Refused | BadRequest | EOFError):
            raise ConnectionError(str(result)) from result


def _answer(refused: _Refused) -> bytes:
    text = f"The box's way out: {refused.reason}\n".encode("utf-8", "replace")
    head = f"HTTP/1.1 {refused.status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {len(text)}\r\n"
    return head.encode("ascii") + b"connection: close\r\n\r\n" + text
