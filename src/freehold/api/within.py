"""The public API asked from inside, for a caller whose key was checked already: the same routes, rights and checks.

ASGI gives no client a way to put anything into a scope, so what stands there is this server's own word.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.types import ASGIApp, Message

from freehold.api.base import CALLER
from freehold.calls import Caller

MOST_BYTES = 16 << 20


class Refused(Exception):
    """The API did not do it; the text is its own."""


class Within:
    """Asks the application that `app` gives."""

    def __init__(self, app: Callable[[], ASGIApp]) -> None:
        self._app = app

    async def get(self, caller: Caller, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """GET as JSON. Raises `Refused`."""
        return _json(await self.raw(caller, "GET", path, query, None))

    async def post(self, caller: Caller, path: str, body: Mapping[str, Any]) -> Any:
        """POST as JSON. Raises `Refused`."""
        return _json(await self.raw(caller, "POST", path, None, json.dumps(body).encode()))

    async def raw(
        self, caller: Caller, method: str, path: str, query: Mapping[str, Any] | None = None, body: bytes | None = None
    ) -> bytes:
        """The body of an answer. Raises `Refused`, for one that is too large as well."""
        asked = urlencode({name: value for name, value in (query or {}).items() if value is not None})
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": asked.encode(),
            "headers": [(b"content-type", b"application/json"), (b"anthropic-version", b"2023-06-01")],
            "server": ("within", 80),
            "client": ("127.0.0.1", 0),
            "state": {},
            CALLER: caller,
        }
        answer = _Answer(body or b"")
        await self._app()(scope, answer.receive, answer.send)
        if answer.status >= 400:
            raise Refused(_told(answer))
        return b"".join(answer.parts)


class _Answer:
    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._over = asyncio.Event()
        self.status = 500
        self.parts: list[bytes] = []
        self._left = MOST_BYTES

    async def receive(self) -> Message:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.parts.append(message.get("body", b""))
            self._left -= len(self.parts[-1])
            if self._left < 0:
                raise Refused(f"the answer has more than {MOST_BYTES} bytes")
            if not message.get("more_body", False):
                self._over.set()


def _json(body: bytes) -> Any:
    return json.loads(body or b"null")


def _told(answer: _Answer) -> str:
    try:
        return str(json.loads(b"".join(answer.parts))["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status}"
