"""The gateway between real sockets: a scripted upstream behind it, a real uvicorn in front, its rows in a list."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from anthropic import Anthropic, AsyncAnthropic
from sqlalchemy import Table
from starlette.types import ASGIApp

from freehold.api.front import FrontProtocol
from freehold.api.messages import MessagesRoute
from freehold.calls import Handler
from freehold.clock import Clock, SystemClock
from freehold.gateway.backoff import RetrySettings
from freehold.gateway.pipeline import build
from freehold.ledger.rates import Rates
from freehold.outbound.client import Client
from freehold.outbound.dial import Dialer, parse_url
from freehold.outbound.limits import Limits
from freehold.store.base import Row
from freehold.store.calls import CallRow
from freehold.upstreams.claude import Claude, Credential
from tests.api.parts import KEYS
from tests.scripted_upstream import Line, Request, Script, ScriptedUpstream, scripted

KEY = "sk-member"
UPSTREAM_KEY = "sk-ant-the-operators-own"
MODEL = "claude-opus-4-8"
MESSAGE = json.dumps(
    {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": "Grüße aus dem Hof 🐎", "citations": None}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {"input_tokens": 25, "output_tokens": 30, "service_tier": "standard", "a_field_of_2030": 1.50},
        "another_field_of_2030": [1e2, None],
    },
    ensure_ascii=False,
).encode()


def event(kind: str, **members: Any) -> bytes:
    """One event as Claude sends it."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def text_delta(text: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


START = event(
    "message_start",
    message={
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 25, "output_tokens": 1},
    },
)
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
BLOCK = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
DELTAS = [text_delta(word) for word in ("Once ", "upon ", "a ", "time")]
ENDING = [
    event("content_block_stop", index=0),
    event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 30}),
    event("message_stop"),
]
EVENTS = [START, BLOCK, PING, *DELTAS, *ENDING]
STREAM = b"".join(EVENTS)
OVERLOADED = event("error", error={"type": "overloaded_error", "message": "Overloaded"})


async def stream_all(_: Request, line: Line) -> None:
    """The whole stream, a chunk an event."""
    await line.begin_stream("request-id: req_upstream")
    for data in EVENTS:
        await line.chunk(data)
    await line.chunk(b"")


async def whole(_: Request, line: Line) -> None:
    """A whole answer with the headers that Claude sends."""
    await line.answer(
        200,
        MESSAGE,
        "request-id: req_upstream",
        "anthropic-ratelimit-requests-remaining: 3999",
        "anthropic-organization-id: org_upstream",
        "set-cookie: __cf_bm=secret; path=/",
        "server: cloudflare",
    )


def error_answer(status: int, kind: str, *headers: str) -> Script:
    """An error answer of Claude."""
    body = json.dumps({"type": "error", "error": {"type": kind, "message": "no"}, "request_id": "req_upstream"})

    async def script(_: Request, line: Line) -> None:
        await line.answer(status, body.encode(), "request-id: req_upstream", *headers)

    return script


def in_turn(*scripts: Script) -> Script:
    """The first request gets the first script, and so on; the last one stays."""
    waiting = list(scripts)

    async def script(request: Request, line: Line) -> None:
        await (waiting.pop(0) if len(waiting) > 1 else waiting[0])(request, line)

    return script


@dataclass
class Rows:
    """What of a store the record needs."""

    rows: list[CallRow] = field(default_factory=list)

    def add_row(self, table: Table, row: Row) -> None:
        assert table.name == "calls"
        assert len(row) == len(table.columns)
        self.rows.append(CallRow(*row))


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what sets no event (bounded)."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class _Server(uvicorn.Server):
    """Ends at once: uvicorn looks every 0.1 s whether it is to, and then waits 0.1 s even if nothing is open."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.end = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.end.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                while state.connections or state.tasks:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(app: ASGIApp, http: type[asyncio.Protocol] = FrontProtocol) -> AsyncIterator[str]:
    """A real uvicorn around an application; its base URL."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, http=http, ws="none", lifespan="off", log_config=None, access_log=False)
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        await until(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.end.set()
            await task


@dataclass
class House:
    """Everything of one running gateway."""

    url: str
    upstream: ScriptedUpstream
    handler: Handler
    client: Client
    rows: list[CallRow]
    sdks: list[AsyncAnthropic] = field(default_factory=list)

    def sdk(self, **options: Any) -> AsyncAnthropic:
        """The official client, strict, without retries of its own."""
        given = {"base_url": self.url, "api_key": KEY, "max_retries": 0, **options}
        self.sdks.append(AsyncAnthropic(_strict_response_validation=True, **given))
        return self.sdks[-1]

    def sync_sdk(self) -> Anthropic:
        """The official sync client; use it in a thread."""
        return Anthropic(_strict_response_validation=True, base_url=self.url, api_key=KEY, max_retries=0)

    async def row(self, number: int = 0) -> CallRow:
        """One row of the record, which may come a moment after the answer."""
        await until(lambda: len(self.rows) > number)
        return self.rows[number]


@asynccontextmanager
async def gateway(
    script: Script,
    *,
    retries: RetrySettings | None = None,
    limits: Limits | None = None,
    aliases: dict[str, str] | None = None,
    clock: Clock | None = None,
    prefix: str = "",
    body_limit_bytes: int = 32 << 20,
    body_patience_s: float = 30,
) -> AsyncIterator[House]:
    """A running gateway. Without `retries` nothing is tried again and nothing is held back."""
    clock = clock or SystemClock()
    async with scripted(script) as upstream:
        origin, path = parse_url(upstream.url + prefix)
        client = Client(origin, Dialer(public_only=False), limits=limits)
        claude = Claude("claude", client, prefix=path, credential=Credential.of(UPSTREAM_KEY), aliases=aliases or {})
        rows = Rows()
        handler = build(
            upstream=claude,
            keys=KEYS,
            store=rows,
            rates=Rates.load(),
            clock=clock,
            retries=retries or RetrySettings(max_retries=0),
            chance=lambda: 0.0,
        )
        route = MessagesRoute(handler, clock=clock, body_limit_bytes=body_limit_bytes, body_patience_s=body_patience_s)
        async with served(route) as url:
            house = House(url, upstream, handler, client, rows.rows)
            try:
                yield house
            finally:
                for sdk in house.sdks:
                    await sdk.close()
                await claude.close()


BODY: dict[str, Any] = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}


class RawClient:
    """HTTP by hand, for what no well-behaved client would do."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str) -> AsyncIterator[RawClient]:
        """A connection to that server."""
        origin, _ = parse_url(url)
        reader, writer = await asyncio.open_connection(origin.host, origin.port)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    async def post(self, body: bytes, *headers: str, path: str = "/v1/messages") -> None:
        """Send a request whole."""
        await self.post_as(KEY, body, *headers, path=path)

    async def post_as(self, key: str, body: bytes, *headers: str, path: str = "/v1/messages") -> None:
        """The same with another key."""
        lines = [f"POST {path} HTTP/1.1", "host: x", f"authorization: Bearer {key}", *headers]
        head = "\r\n".join([*lines, f"content-length: {len(body)}"]) + "\r\n\r\n"
        self.writer.write(head.encode("latin-1") + body)
        await self.writer.drain()

    async def head(self) -> tuple[int, list[tuple[str, str]]]:
        """Status and headers of the next answer."""
        async with asyncio.timeout(60):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *rest = text[:-4].split("\r\n")
        return int(first.split()[1]), [(n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in rest)]

    async def body(self, headers: list[tuple[str, str]]) -> bytes:
        """The rest of the answer."""
        async with asyncio.timeout(60):
            length = dict(headers).get("content-length")
            if length is not None:
                return await self.reader.readexactly(int(length))
            return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        """Chunks of a chunked body."""
        while size := int(await self.reader.readline(), 16):
            yield await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)

    def leave(self) -> None:
        """Close at once."""
        self.writer.transport.abort()


async def ask(house: House, body: bytes | None = None, *headers: str, path: str = "/v1/messages") -> Any:
    """One request by hand: status, headers as a mapping, body."""
    async with RawClient.connected(house.url) as raw:
        await raw.post(body if body is not None else json.dumps(BODY).encode(), *headers, path=path)
        status, answered = await raw.head()
        return status, dict(answered), await raw.body(answered)
