"""The public API as the console calls it: in this process, without a socket, with the visitor's own key.

It knows HTTP and JSON, no page.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.types import ASGIApp, Message, Scope

Headers = list[tuple[bytes, bytes]]
Query = Mapping[str, str | int | None]
_AHEAD = 64
"""Parts of an answer that may wait for their reader."""


class Refused(Exception):
    """The API did not do it; `message` is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Api:
    """The API for one key."""

    app: Callable[[], ASGIApp]
    key: str

    async def get(self, path: str, query: Query | None = None) -> dict[str, Any]:
        """GET as JSON. Raises `Refused`."""
        return await self._json("GET", path, query, None)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST as JSON. Raises `Refused`."""
        return await self._json("POST", path, None, json.dumps(body).encode())

    async def delete(self, path: str) -> dict[str, Any]:
        """DELETE. Raises `Refused`."""
        return await self._json("DELETE", path, None, None)

    async def _json(self, method: str, path: str, query: Query | None, body: bytes | None) -> dict[str, Any]:
        async with self.open(method, path, query, body) as answer:
            value = json.loads(b"".join([part async for part in answer.parts]) or b"null")
        if answer.status >= 400:
            error = value.get("error", {}) if isinstance(value, dict) else {}
            raise Refused(answer.status, str(error.get("message", "the server gave no reason")))
        return value if isinstance(value, dict) else {}

    @contextlib.asynccontextmanager
    async def open(
        self, method: str, path: str, query: Query | None = None, body: bytes | None = None
    ) -> AsyncIterator[Answer]:
        """An answer while it comes; leaving the context early tells the API that its client has left."""
        exchange = _Exchange(_scope(method, path, query, self.key), body or b"")
        task = asyncio.create_task(exchange.run(self.app()))
        try:
            yield await exchange.begun(task)
        finally:
            exchange.left.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and headers, and the body's parts as they come."""

    status: int
    headers: Headers
    parts: AsyncIterator[bytes]


class _Exchange:
    def __init__(self, scope: Scope, body: bytes) -> None:
        self._scope = scope
        self._body: bytes | None = body
        self._parts: asyncio.Queue[Message | None] = asyncio.Queue(_AHEAD)
        self.left = asyncio.Event()

    async def run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self._receive, self._parts.put)
        finally:
            with contextlib.suppress(asyncio.QueueFull):
                self._parts.put_nowait(None)

    async def begun(self, task: asyncio.Task[None]) -> Answer:
        first = await self._parts.get()
        if first is None:
            await task  # raises what the application raised
            raise RuntimeError("the application ended without an answer")
        return Answer(first["status"], list(first["headers"]), self._rest())

    async def _rest(self) -> AsyncIterator[bytes]:
        while (part := await self._parts.get()) is not None:
            if data := part.get("body", b""):
                yield data
            if not part.get("more_body", False):
                return

    async def _receive(self) -> Message:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}


def _scope(method: str, path: str, query: Query | None, key: str) -> Scope:
    asked = urlencode([(name, value) for name, value in (query or {}).items() if value not in (None, "")])
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": asked.encode(),
        "root_path": "",
        "headers": [
            (b"x-api-key", key.encode("latin-1", "replace")),
            (b"content-type", b"application/json"),
            (b"anthropic-version", b"2023-06-01"),
        ],
        "server": ("console", 80),
        "client": ("127.0.0.1", 0),
        "state": {},
    }
