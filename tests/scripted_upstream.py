"""An upstream made of a real socket and a script: what it got, byte for byte, and what it answers, to the byte.

A script is an async function that is given each request and its connection; it writes raw HTTP. Used by every test
that wants to see what leaves Freehold on the wire, or to answer in a way that no well-behaved server would.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int
    """Which connection it came on: 0, 1, 2 …"""

    def header(self, name: str) -> str | None:
        """The first of that name."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Line:
    """One connection, seen from the upstream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number

    async def send(self, data: bytes) -> None:
        """Raw bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, status: int, body: bytes, *headers: str) -> None:
        """A whole answer with its length."""
        lines = [f"HTTP/1.1 {status} X", "content-type: application/json", *headers, f"content-length: {len(body)}"]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def begin_stream(self, *headers: str) -> None:
        """The head of a chunked event stream."""
        lines = ["HTTP/1.1 200 OK", "content-type: text/event-stream; charset=utf-8", *headers]
        await self.send("\r\n".join([*lines, "transfer-encoding: chunked"]).encode() + b"\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        """One chunk; an empty one ends the body."""
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def hang_up(self) -> None:
        """Close at once."""
        self.writer.transport.abort()

    async def closed_by_peer(self) -> bool:
        """Wait until the other side has hung up (bounded)."""
        async with asyncio.timeout(60):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


Script = Callable[[Request, Line], Awaitable[None]]


class ScriptedUpstream:
    """A server on a free port of 127.0.0.1. `requests` is all that came, in order."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.connections = 0
        self.errors: list[BaseException] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Condition()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    async def open(self, **options: Any) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, **options)

    async def close(self) -> None:
        """Stop listening, hang up on everybody; what a script raised comes out here."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()
        if self.errors:
            raise self.errors[0]

    async def arrived(self, count: int) -> None:
        """Wait until so many requests have come (bounded)."""
        async with asyncio.timeout(60), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer, self.connections)
        self.connections += 1
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while (request := await _read_request(line)) is not None:
                async with self._arrived:
                    self.requests.append(request)
                    self._arrived.notify_all()
                await self.script(request, line)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except (AssertionError, TimeoutError) as error:
            self.errors.append(error)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()


async def _read_request(line: Line) -> Request | None:
    try:
        head = (await line.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *rest = head[:-4].split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (text.partition(":") for text in rest)]
    length = int(next((value for name, value in headers if name.lower() == "content-length"), "0"))
    return Request(first, headers, await line.reader.readexactly(length), line.number)


@asynccontextmanager
async def scripted(script: Script, **options: Any) -> AsyncIterator[ScriptedUpstream]:
    """A running one."""
    upstream = ScriptedUpstream(script)
    await upstream.open(**options)
    try:
        yield upstream
    finally:
        await upstream.close()
