"""The simulator over HTTP: a bare ASGI application that any Anthropic SDK can be pointed at.

It parses the HTTP part, hands calls to the `Simulator`, and renders what comes back. Nothing below knows HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec

from freehold.calls import Call, Caller, Headers, NotAnswered, Reply, Route
from freehold.clock import Clock
from freehold.errors import FreeholdError, InvalidRequest, NotFound, TooLarge, Unauthenticated
from freehold.simulator import listing
from freehold.simulator.admin import Admin
from freehold.simulator.batches import Batches
from freehold.simulator.model import catalog
from freehold.simulator.upstream import IDS, Simulator, refusal
from freehold.wire.headers import first

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_log = logging.getLogger(__name__)

LARGEST_BODY = 32 << 20
LARGEST_BATCH = 256 << 20
_CALLS: dict[str, Route] = {"/v1/messages": "messages", "/v1/messages/count_tokens": "count_tokens"}
_JSON: Headers = [(b"content-type", b"application/json")]


class _Aborts(Protocol):
    """What a connection reset needs of the server; uvicorn's request has it."""

    def abort(self) -> None: ...


class MethodNotAllowed(InvalidRequest):
    """This path does not take that method."""

    status = 405


class App:
    """The ASGI application. One per simulator."""

    def __init__(self, simulator: Simulator, clock: Clock, *, admin: Admin, batches: Batches) -> None:
        self.simulator = simulator
        self._clock = clock
        self._admin = admin
        self._batches = batches

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        try:
            await self._answer(exchange)
        except NotAnswered:
            await exchange.reset()
        except FreeholdError as error:
            await exchange.reply(refusal(error, exchange.request_id or "req_refused"))
        except Exception:  # noqa: BLE001  (the outer edge of a request: an answer for the caller, the traceback for us)
            _log.error("a request to %s failed\n%s", exchange.path, traceback.format_exc())
            await exchange.reply(refusal(FreeholdError("Internal server error"), exchange.request_id or "req_failed"))

    async def _answer(self, exchange: Exchange) -> None:
        path = exchange.path
        if path.startswith("/freehold/v1/simulator"):
            await exchange.json(await self._admin.answer(exchange.method, path, await exchange.body(LARGEST_BODY)))
            return
        caller = _caller(exchange)
        route = _CALLS.get(path)
        if route is not None:
            exchange.allow("POST")
            await self._call(exchange, caller, route)
        elif path.startswith("/v1/messages/batches"):
            await self._batch(exchange, caller)
        elif path == "/v1/models" or path.startswith("/v1/models/"):
            exchange.allow("GET")
            await exchange.json(self._models(exchange))
        else:
            raise NotFound(f"There is no {exchange.method} {path[:200]} here.")

    async def _call(self, exchange: Exchange, caller: Caller, route: Route) -> None:
        body = await exchange.body(LARGEST_BODY)
        ids = self.simulator.claude.ids.source(caller.workspace_id, body)
        exchange.request_id = ids.new("req")
        model, stream = _peek(body)
        started = self._clock.monotonic_ns()
        call = Call(exchange.request_id, route, body, {}, exchange.headers, model, stream, started, caller)
        call.notes[IDS] = ids
        if self.simulator.may_wait or first(exchange.headers, b"x-freehold-fault"):
            await exchange.unless_left(self._send(exchange, call))
        else:
            await self._send(exchange, call)

    async def _send(self, exchange: Exchange, call: Call) -> None:
        async with self.simulator(call) as reply:
            await exchange.reply(reply)

    async def _batch(self, exchange: Exchange, caller: Caller) -> None:
        body = await exchange.body(LARGEST_BATCH) if exchange.method == "POST" else b""
        answer = self._batches.answer(exchange.method, exchange.path, exchange.query, body, caller, exchange.origin)
        if isinstance(answer, list):
            await exchange.lines(answer)
        else:
            await exchange.json(answer)

    def _models(self, exchange: Exchange) -> object:
        now_us = self._clock.now_us()
        name = exchange.path.removeprefix("/v1/models").strip("/")
        if name:
            return catalog.info(catalog.find(name), now_us)
        wanted = exchange.query.get("lifecycle[]") or exchange.query.get("lifecycle") or ["active", "deprecated"]
        entries = [catalog.info(model, now_us) for model in catalog.newest_first()]
        return listing.id_page([entry for entry in entries if entry["lifecycle"] in wanted], exchange.query)


class Exchange:
    """One HTTP request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: Headers = list(scope["headers"])
        self.request_id = ""
        self._scope = scope
        self._receive = receive
        self._send = send
        self._started = False

    @property
    def query(self) -> dict[str, list[str]]:
        """The query string, every name with its values."""
        return parse_qs(self._scope["query_string"].decode("latin-1"))

    @property
    def origin(self) -> str:
        """Where the client thinks we are, for addresses in answers."""
        host = first(self.headers, b"host") or "127.0.0.1"
        return f"{self._scope.get('scheme', 'http')}://{host}"

    def allow(self, *methods: str) -> None:
        """Raise unless the method is one of these."""
        if self.method not in methods:
            raise MethodNotAllowed(f"{self.path} takes {' or '.join(methods)}, not {self.method[:20]}")

    async def body(self, largest: int) -> bytes:
        """The whole request body.

        Raises:
            TooLarge: it has more bytes than that.
        """
        message = await self._receive()
        if not message.get("more_body") and message["type"] == "http.request":
            return _within(message.get("body", b""), largest)
        parts, size = [], 0
        while message["type"] == "http.request":
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > largest:
                raise TooLarge(f"Request exceeds the maximum size of {largest} bytes")
            if not message.get("more_body"):
                break
            message = await self._receive()
        return b"".join(parts)

    async def unless_left(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work that may take long, but stop when the client has left. Costs two tasks."""
        working = asyncio.ensure_future(work)
        watching = asyncio.ensure_future(self._left())
        try:
            await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            if not working.done():
                working.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)
        if not working.cancelled():
            working.result()

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def reply(self, reply: Reply) -> None:
        """Send a reply in either form. One that has begun is broken off instead."""
        if self._started:
            await self.reset()
            return
        self._started = True
        headers = reply.headers
        if reply.whole is not None:
            headers = [*headers, (b"content-length", str(len(reply.whole)).encode())]
            await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})
            await self._send({"type": "http.response.body", "body": reply.whole})
            return
        assert reply.reads is not None
        headers = [*headers, (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})
        async for read in _as_bytes(reply):
            await self._send({"type": "http.response.body", "body": read, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    async def json(self, body: object) -> None:
        """Send JSON with status 200."""
        await self.reply(Reply(200, [*_JSON, _request_id(self)], whole=msgspec.json.encode(body)))

    async def lines(self, lines: list[bytes]) -> None:
        """Send JSON Lines."""
        headers: Headers = [(b"content-type", b"application/x-jsonl"), _request_id(self)]
        await self.reply(Reply(200, headers, whole=b"".join(line + b"\n" for line in lines)))

    async def reset(self) -> None:
        """Cut the connection without another byte, where the server lets us; else let it end unfinished."""
        transport: _Aborts | None = getattr(getattr(self._receive, "__self__", None), "transport", None)
        if transport is not None:
            transport.abort()
            await self._left()


async def _as_bytes(reply: Reply) -> AsyncIterator[bytes]:
    assert reply.reads is not None
    async for read in reply.reads:
        yield read.data


def _within(body: bytes, largest: int) -> bytes:
    if len(body) > largest:
        raise TooLarge(f"Request exceeds the maximum size of {largest} bytes")
    return body


def _request_id(exchange: Exchange) -> tuple[bytes, bytes]:
    digest = hashlib.blake2b(f"{exchange.method} {exchange.path}".encode(), digest_size=9).hexdigest()
    return b"request-id", (exchange.request_id or f"req_{digest}").encode()


def key_name(key: str) -> str:
    """What a key is called on the bill: the key itself is a secret."""
    return f"key_{hashlib.blake2b(key.encode(), digest_size=6).hexdigest()}"


def _caller(exchange: Exchange) -> Caller:
    bearer = first(exchange.headers, b"authorization") or ""
    key = first(exchange.headers, b"x-api-key") or (bearer[7:] if bearer[:7].lower() == "bearer " else "")
    if not key.strip():
        raise Unauthenticated("x-api-key header is required")
    workspace = first(exchange.headers, b"anthropic-workspace-id") or "default"
    return Caller(workspace[:100], key_name(key.strip()), "member")


class _Head(msgspec.Struct):
    model: Any = ""
    stream: Any = False


def _peek(body: bytes) -> tuple[str, bool]:
    """The model and whether to stream, as far as the body can be read; the simulator judges it afterwards."""
    try:
        head = msgspec.json.decode(body, type=_Head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "", False
    return head.model if isinstance(head.model, str) else "", head.stream is True


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
