"""The hot route: `POST /v1/messages` and `/v1/messages/count_tokens`.

It takes the body, makes a Call of it, and hands on what the handler answers: whole answers at once, streams one write
per read. Every error becomes Claude's envelope. It has two doors: as a bare ASGI application, with a watch for the
client that leaves, and `serve`, through which the server's own protocol (`front`) comes without ASGI. It does not know
the gateway's features, nor what is in a message.

Ids: an answer of an upstream keeps the upstream's `request-id`, which is what its maker's support asks for; our own
goes on answers that have none, errors of ours among them. The row of the call has both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from starlette.types import Message, Receive, Scope, Send

from freehold.api.bodies import JSON_LIMIT_BYTES, Body, ClientLeft
from freehold.api.departure import Departure, Departures
from freehold.calls import Call, Handler, Headers, Route
from freehold.clock import Clock
from freehold.errors import FreeholdError, MethodNotAllowed, TooLarge
from freehold.gateway.reading import read_call, refused_call
from freehold.ids import NewId, new_id
from freehold.wire.envelopes import error_body
from freehold.wire.frames import frame
from freehold.wire.headers import REQUEST_ID
from freehold.wire.reads import Read

log = logging.getLogger(__name__)

ROUTES: dict[str, Route] = {"/v1/messages": "messages", "/v1/messages/count_tokens": "count_tokens"}
"""The paths that belong here; the composition root sends them past the router."""
_STREAM_HEADERS = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
_STREAM_HEADER_NAMES = frozenset(name for name, _ in _STREAM_HEADERS)
_ORGANIZATION_ID, _WORKSPACE_ID = b"anthropic-organization-id", b"anthropic-workspace-id"


class Asked:
    """One request, as far as its head tells."""

    __slots__ = ("headers", "path", "query", "started_ns")

    def __init__(self, path: str, headers: Headers, query: bytes, started_ns: int) -> None:
        self.path = path
        self.headers = headers
        self.query = query
        self.started_ns = started_ns


class Out(Protocol):
    """Where one answer goes: `whole`, or `begin`, pieces and `end`. `begun` once its head is out."""

    begun: bool

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """The answer at once; `headers` without its length."""

    async def begin(self, status: int, headers: Headers) -> None:
        """The head of a stream."""

    async def pour(self, reads: AsyncIterator[Read], first: Callable[[], None]) -> None:
        """More of it: read after read as they come, no faster than the client takes them; `first` is called once."""

    async def piece(self, data: bytes) -> None:
        """More of it. Waits while the client is slow."""

    async def end(self) -> None:
        """Its end."""


class MessagesRoute:
    """The routes in `ROUTES`. `body_patience_s` bounds how long a piece of a body may take to come in."""

    def __init__(
        self,
        handler: Handler,
        *,
        clock: Clock,
        ids: NewId = new_id,
        organization_id: str = "org_freehold",
        body_limit_bytes: int = JSON_LIMIT_BYTES,
        body_patience_s: float = 30.0,
    ) -> None:
        self._handler = handler
        self.clock = clock
        self._ids = ids
        self._organization = (_ORGANIZATION_ID, organization_id.encode("latin-1"))
        self.body_limit_bytes = body_limit_bytes
        self.body_patience_s = body_patience_s
        self._departures = Departures(body_patience_s)
        self.bare: Mapping[str, MessagesRoute] = dict.fromkeys(ROUTES, self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        asked = Asked(scope["path"], scope["headers"], scope["query_string"], self.clock.monotonic_ns())
        departure = self._departures.begin(receive)
        out = _Sent(send, lambda: self._departures.end(departure))
        try:
            if scope["method"] != "POST":
                await self._refuse(asked, scope["method"], out)
                return
            await self.serve(asked, await self._body(asked.headers, receive, departure), out)
        except ClientLeft:
            return
        except asyncio.CancelledError:
            if not departure.happened:
                raise
        finally:
            self._departures.end(departure)

    async def serve(self, asked: Asked, body: bytes | FreeholdError, out: Out) -> None:
        """Answer one request; `body` is why it cannot be answered if it could not be read."""
        request_id = self._ids("req")
        route, headers, began_ns = ROUTES[asked.path], asked.headers, asked.started_ns
        if isinstance(body, bytes):
            call = read_call(route, body, headers, query=asked.query, request_id=request_id, started_ns=began_ns)
        else:
            call = refused_call(route, headers, body, request_id=request_id, started_ns=began_ns)
        try:
            async with self._handler(call) as reply:
                headers = self._completed(call, reply.headers)
                if reply.reads is not None:
                    await self._stream(call, reply.status, headers, reply.reads, out)
                else:
                    call.first_byte_ns = self.clock.monotonic_ns()
                    await out.whole(reply.status, headers, reply.whole or b"")
        except FreeholdError as error:
            await self._fail(call, error, out)
        except Exception:  # the outer edge of a request
            log.exception("%s failed", request_id)
            told = f"Something went wrong in the server; its log has it under {request_id}."
            await self._fail(call, FreeholdError(told), out)

    async def _stream(self, call: Call, status: int, headers: Headers, reads: AsyncIterator[Read], out: Out) -> None:
        """Byte for byte, a write for each read."""
        headers = [pair for pair in headers if pair[0] not in _STREAM_HEADER_NAMES]
        await out.begin(status, headers + _STREAM_HEADERS)

        def first() -> None:
            call.first_byte_ns = self.clock.monotonic_ns()

        await out.pour(reads, first)
        await out.end()

    async def _fail(self, call: Call, error: FreeholdError, out: Out) -> None:
        """An envelope; inside a stream that has begun, an `error` event, after which it ends."""
        body = error_body(error, call.request_id)
        if out.begun:
            await out.piece(frame("error", body))
            await out.end()
            return
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in error.headers.items()]
        headers.append((b"content-type", b"application/json"))
        await out.whole(error.status, self._completed(call, headers), body)

    def _completed(self, call: Call, headers: Headers) -> Headers:
        """With the ids that every answer carries, where the upstream has not set its own."""
        there, missing = dict(headers), []
        if REQUEST_ID not in there:
            missing.append((REQUEST_ID, call.request_id.encode("latin-1")))
        if _ORGANIZATION_ID not in there:
            missing.append(self._organization)
        if call.caller is not None and _WORKSPACE_ID not in there:
            missing.append((_WORKSPACE_ID, call.caller.workspace_id.encode("latin-1")))
        return headers + missing

    async def _refuse(self, asked: Asked, method: str, out: Out) -> None:
        error = MethodNotAllowed(f"{method} is not a method of {asked.path}.", headers={"allow": "POST"})
        request_id, began_ns = self._ids("req"), asked.started_ns
        call = refused_call(ROUTES[asked.path], asked.headers, error, request_id=request_id, started_ns=began_ns)
        await self._fail(call, error, out)

    async def _body(self, headers: Headers, receive: Receive, departure: Departure) -> bytes | FreeholdError:
        try:
            return await self._whole(headers, receive, departure)
        except FreeholdError as error:
            return error
        finally:
            departure.complete = True

    async def _whole(self, headers: Headers, receive: Receive, departure: Departure) -> bytes:
        message = await departure.first_message()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        if not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self.body_limit_bytes:
                raise TooLarge(f"The request is larger than the {self.body_limit_bytes:,} bytes that this route takes.")
            return body
        return await Body(headers, _after(message, receive), patience_s=self.body_patience_s).whole(
            self.body_limit_bytes
        )


class _Sent:
    """See `Out`: through ASGI's `send`. `over` is called once the answer is out."""

    __slots__ = ("_over", "_send", "begun")

    def __init__(self, send: Send, over: Callable[[], None]) -> None:
        self._send = send
        self._over = over
        self.begun = False

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """See `Out`."""
        await self.begin(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self._send({"type": "http.response.body", "body": body})
        self._over()

    async def begin(self, status: int, headers: Headers) -> None:
        """See `Out`."""
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def pour(self, reads: AsyncIterator[Read], first: Callable[[], None]) -> None:
        """See `Out`."""
        begun = False
        async for read in reads:
            if not begun:
                begun = True
                first()
            await self.piece(read.data)

    async def piece(self, data: bytes) -> None:
        """See `Out`."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """See `Out`."""
        await self._send({"type": "http.response.body", "body": b""})
        self._over()


def _after(first: Message, receive: Receive) -> Receive:
    """`receive`, with one message put back."""
    waiting = [first]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
