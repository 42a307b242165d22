"""An application asked from within its process: without a socket, and in all else as from outside.

It knows ASGI, HTTP and JSON, and nothing of what it asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from starlette.types import ASGIApp, Message, Scope

Headers = Sequence[tuple[bytes, bytes]]
Query = Mapping[str, str | int | None]
"""What is `None` or empty is not asked."""

log = logging.getLogger(__name__)
_PARTS_AHEAD = 16
"""Parts of an answer that the application may send before they are read: about what a socket's buffer holds."""
_GRACE_S = 1.0
"""How long the application may go on once the client has left; then its task is cancelled."""


class Broken(Exception):
    """The application ended without finishing its answer; what it raised is the cause."""


class Refused(Exception):
    """The API did not do it; `message` is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Exchange:
    """One request and its answer: the application's task on one side, whoever reads on the other."""

    def __init__(self, app: ASGIApp, scope: Scope, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._body_sent = False
        self._parts: asyncio.Queue[Message | None] = asyncio.Queue(_PARTS_AHEAD)
        self._complete = False
        self._left = asyncio.Event()
        self.task = asyncio.ensure_future(self._run(app, scope))
        """The application's."""
        self.task.add_done_callback(_report)

    async def head(self) -> tuple[int, Headers]:
        """Wait for status and headers. Raises `Broken`."""
        message = await self._next()
        if message["type"] != "http.response.start":
            raise Broken(f"the application began its answer with {message['type']}")
        return message["status"], list(message.get("headers", ()))

    async def part(self) -> bytes | None:
        """The next bytes of the body, which may be none; `None` behind the last. Raises `Broken`."""
        if self._complete:
            return None
        message = await self._next()
        self._complete = not message.get("more_body", False)
        data: bytes = message.get("body", b"")
        return data

    async def leave(self) -> None:
        """The client leaves; if that is before the end, the application hears of it and is cancelled if it goes on."""
        self._left.set()
        if self._complete:
            return
        while not self._parts.empty():  # whoever waits to send goes on, and its parts go nowhere
            self._parts.get_nowait()
        try:
            await asyncio.wait({self.task}, timeout=_GRACE_S)
        finally:
            self.task.cancel()
        await asyncio.wait({self.task})

    async def _run(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._send)
        finally:
            with contextlib.suppress(asyncio.QueueFull):
                self._parts.put_nowait(None)

    async def _receive(self) -> Message:
        async for data in self._body:
            return {"type": "http.request", "body": data, "more_body": True}
        if not self._body_sent:
            self._body_sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._left.is_set():
            await asyncio.sleep(0)  # else an application that only sends would never let its cancellation in
        else:
            await self._parts.put(message)

    async def _next(self) -> Message:
        """The application's next message; it may have ended without one."""
        while not (self._parts.empty() and self.task.done()):
            message = await self._parts.get()
            if message is not None:
                return message
            await asyncio.wait({self.task})
        broken = Broken("the application ended without finishing its answer")
        raise broken from (None if self.task.cancelled() else self.task.exception())


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and headers, and the body's parts as they come."""

    status: int
    headers: Headers
    parts: AsyncIterator[bytes]

    async def whole(self) -> bytes:
        """The body. Raises `Refused` unless the API has done what it was asked."""
        body = b"".join([part async for part in self.parts])
        if self.status >= 400:
            raise Refused(self.status, _told(body) or f"HTTP {self.status}")
        return body


@dataclass(frozen=True, slots=True)
class Within:
    """Asks the application that `app` gives, each time with these `headers`. What is in `scope` stands in every scope:
    no client can put anything there, so it is this server's own word."""

    app: Callable[[], ASGIApp]
    headers: Headers = ()
    scope: Mapping[str, Any] = field(default_factory=dict)

    async def get(self, path: str, query: Query | None = None) -> dict[str, Any]:
        """GET as JSON. Raises `Refused`."""
        return await self._json("GET", path, query)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST as JSON. Raises `Refused`."""
        return await self._json("POST", path, body=json.dumps(body).encode())

    async def delete(self, path: str) -> dict[str, Any]:
        """DELETE. Raises `Refused`."""
        return await self._json("DELETE", path)

    @contextlib.asynccontextmanager
    async def open(
        self, method: str, path: str, query: Query | None = None, body: bytes = b""
    ) -> AsyncIterator[Answer]:
        """An answer while it comes; leaving the context early tells the API that its client has left."""
        exchange = Exchange(self.app(), self._scope(method, path, query), _once(body))
        try:
            status, headers = await exchange.head()
            yield Answer(status, headers, _parts(exchange))
        finally:
            await exchange.leave()

    async def _json(self, method: str, path: str, query: Query | None = None, body: bytes = b"") -> dict[str, Any]:
        async with self.open(method, path, query, body) as answer:
            value = json.loads(await answer.whole() or b"{}")
        return value if isinstance(value, dict) else {}

    def _scope(self, method: str, path: str, query: Query | None) -> Scope:
        asked = urlencode([(name, value) for name, value in (query or {}).items() if value not in (None, "")])
        sent = [(b"content-type", b"application/json"), (b"anthropic-version", b"2023-06-01"), *self.headers]
        return {**scope_of(method, path, path.encode(), asked.encode(), sent), **self.scope}


def scope_of(
    method: str, path: str, raw_path: bytes, query: bytes, headers: Headers, server: tuple[str, int] = ("within", 80)
) -> Scope:
    """The scope of a request that comes from this process, as a server would make it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},  # what uvicorn says, so that frameworks act the same
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": raw_path,
        "root_path": "",
        "query_string": query,
        "headers": list(headers),
        "server": server,
        "client": ("127.0.0.1", 0),
        "state": {},
    }


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _parts(exchange: Exchange) -> AsyncIterator[bytes]:
    while (part := await exchange.part()) is not None:
        if part:
            yield part


def _told(body: bytes) -> str:
    """The words of an error of the API."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("the application raised", exc_info=error)
