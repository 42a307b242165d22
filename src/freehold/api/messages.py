"""The hot route: `POST /v1/messages` and `/v1/messages/count_tokens` as a bare ASGI application.

It takes the body, makes a Call of it, and hands on what the handler answers: whole answers at once, streams one write
per read, with a watch for the client that leaves. Every error becomes Claude's envelope. It does not know the gateway's
features, nor what is in a message.

Ids: an answer of an upstream keeps the upstream's `request-id`, which is what its maker's support asks for; our own
goes on answers that have none, errors of ours among them. The row of the call has both.
"""

from __future__ import annotations

import asyncio
import logging

from starlette.types import Message, Receive, Scope, Send

from freehold.api.bodies import JSON_LIMIT_BYTES, Body, ClientLeft
from freehold.api.departure import Departure, Departures
from freehold.calls import Call, Handler, Headers, Read, Reply, Route
from freehold.clock import Clock
from freehold.errors import FreeholdError, MethodNotAllowed, TooLarge
from freehold.gateway.reading import read_call, refused_call
from freehold.ids import NewId, new_id
from freehold.wire.envelopes import error_body
from freehold.wire.frames import frame
from freehold.wire.headers import REQUEST_ID

log = logging.getLogger(__name__)

ROUTES: dict[str, Route] = {"/v1/messages": "messages", "/v1/messages/count_tokens": "count_tokens"}
"""The paths that belong here; the composition root sends them past the router."""
_STREAM_HEADERS = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
_STREAM_HEADER_NAMES = frozenset(name for name, _ in _STREAM_HEADERS)


class MessagesRoute:
    """ASGI application for the paths in `ROUTES`. `body_patience_s` bounds how long a body may take to come in."""

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
        self._clock = clock
        self._ids = ids
        self._organization = organization_id.encode("latin-1")
        self._limit = body_limit_bytes
        self._patience_s = body_patience_s
        self._departures = Departures(body_patience_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        out = _Outgoing(send, self._clock, self._ids("req"), self._organization)
        departure = self._departures.begin(receive)
        try:
            await self._answer(scope, receive, departure, out)
        except ClientLeft:
            return
        except asyncio.CancelledError:
            if not departure.happened:
                raise
        except FreeholdError as error:
            await out.fail(error)
        except Exception:  # the outer edge of a request
            log.exception("%s failed", out.request_id)
            told = f"Something went wrong in the server; its log has it under {out.request_id}."
            await out.fail(FreeholdError(told))
        finally:
            self._departures.end(departure)

    async def _answer(self, scope: Scope, receive: Receive, departure: Departure, out: _Outgoing) -> None:
        started_ns = self._clock.monotonic_ns()
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['method']} is not a method of {scope['path']}.", headers={"allow": "POST"})
        route, headers = ROUTES[scope["path"]], scope["headers"]
        try:
            body = await self._body(headers, receive, departure)
        except FreeholdError as error:
            call = refused_call(route, headers, error, request_id=out.request_id, started_ns=started_ns)
        else:
            query = scope["query_string"]
            call = read_call(route, body, headers, query=query, request_id=out.request_id, started_ns=started_ns)
        out.call = call
        departure.complete = True
        async with self._handler(call) as reply:
            await out.hand_on(reply)
            self._departures.end(departure)

    async def _body(self, headers: Headers, receive: Receive, departure: Departure) -> bytes:
        message = await departure.first_message()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        if not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self._limit:
                raise TooLarge(f"The request is larger than the {self._limit:,} bytes that this route takes.")
            return body
        return await Body(headers, _after(message, receive), patience_s=self._patience_s).whole(self._limit)


class _Outgoing:
    """The answer to one request, on its way out."""

    __slots__ = ("_begun", "_clock", "_organization", "_send", "call", "request_id")

    def __init__(self, send: Send, clock: Clock, request_id: str, organization: bytes) -> None:
        self._send = send
        self._clock = clock
        self._organization = organization
        self._begun = False
        self.request_id = request_id
        self.call: Call | None = None

    async def hand_on(self, reply: Reply) -> None:
        """The handler's reply, byte for byte."""
        headers = self._completed(reply.headers)
        if reply.reads is not None:
            headers = [pair for pair in headers if pair[0] not in _STREAM_HEADER_NAMES]
            await self._start(reply.status, headers + _STREAM_HEADERS)
            async for read in reply.reads:
                await self._pass_on(read)
            await self._send({"type": "http.response.body", "body": b""})
        else:
            whole = reply.whole or b""
            headers.append((b"content-length", b"%d" % len(whole)))
            await self._start(reply.status, headers)
            self._note_first_byte()
            await self._send({"type": "http.response.body", "body": whole})

    async def fail(self, error: FreeholdError) -> None:
        """An envelope; inside a stream that has begun, an `error` event, after which it ends."""
        body = error_body(error, self.request_id)
        if self._begun:
            await self._send({"type": "http.response.body", "body": frame("error", body)})
            return
        own = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in error.headers.items()]
        own += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self._start(error.status, self._completed(own))
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: Headers) -> None:
        self._begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _pass_on(self, read: Read) -> None:
        if self.call is not None and self.call.first_byte_ns is None:
            self._note_first_byte()
        await self._send({"type": "http.response.body", "body": read.data, "more_body": True})

    def _note_first_byte(self) -> None:
        if self.call is not None:
            self.call.first_byte_ns = self._clock.monotonic_ns()

    def _completed(self, headers: Headers) -> Headers:
        """With the ids that every answer carries, where the upstream has not set its own."""
        there = dict(headers)
        completed = list(headers)
        if REQUEST_ID not in there:
            completed.append((REQUEST_ID, self.request_id.encode("latin-1")))
        if b"anthropic-organization-id" not in there:
            completed.append((b"anthropic-organization-id", self._organization))
        if self.call is not None and self.call.caller is not None and b"anthropic-workspace-id" not in there:
            completed.append((b"anthropic-workspace-id", self.call.caller.workspace_id.encode("latin-1")))
        return completed


def _after(first: Message, receive: Receive) -> Receive:
    """`receive`, with one message put back."""
    waiting = [first]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
