"""`/mcp/{toolbox}`: the toolboxes of this server for any MCP client, by streamable HTTP, behind the same keys.

It knows keys and toolboxes; the protocol is `mcp_server.py`'s, which is loaded when somebody first comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from freehold.api.base import ChecksKeys
from freehold.calls import Caller, Headers
from freehold.errors import FreeholdError, InvalidRequest, NotFound, PermissionDenied, Unauthenticated
from freehold.ids import NewId
from freehold.toolboxes.base import Shared, Toolbox
from freehold.toolboxes.current import Asker
from freehold.wire.envelopes import error_body

if TYPE_CHECKING:
    from freehold.api.mcp_server import McpServer

PATH = "/mcp"


class Tokens(Protocol):
    """Access tokens of MCP clients (`api.oauth.Connections`)."""

    def sent(self, headers: Headers) -> str | None:
        """The token in these headers; `None` where there is none, or a key."""
        ...

    async def check(self, token: str, toolbox: str) -> Caller:
        """On whose behalf it is shown. Raises `Unauthenticated`."""
        ...

    def metadata_url(self, scope: Scope, toolbox: str) -> str | None:
        """Where it is told how to get one; `None`: there are none."""
        ...


class McpDoor:
    """ASGI application of everything below `/mcp`; `drain` ends what is open."""

    def __init__(self, toolboxes: Mapping[str, Toolbox], keys: ChecksKeys, ids: NewId, tokens: Tokens) -> None:
        self._toolboxes = toolboxes
        self._keys = keys
        self._tokens = tokens
        self._ids = ids
        self._servers: dict[tuple[str, str], McpServer] = {}
        self._running: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            asker = await self._asker(scope)
            server = await self._server(scope, asker)
        except FreeholdError as error:
            await self._refuse(error, scope)(scope, receive, send)
            return
        await server({**scope, "freehold.asker": asker}, receive, send)

    def drain(self) -> None:
        """End every stream that is open, so that the server can stop."""
        for task in self._running:
            task.cancel()

    async def close(self) -> None:
        """Drain, and wait until all of it has ended."""
        self.drain()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _asker(self, scope: Scope) -> Asker:
        token = self._tokens.sent(scope["headers"])
        name = _name(scope)
        caller = await self._tokens.check(token, name) if token else self._keys.check(scope["headers"])
        if caller.role == "viewer":
            raise PermissionDenied("This key's role is viewer: it reads, and calls no tool.")
        user = next((value for name, value in scope["headers"] if name == b"x-freehold-user-id"), b"")
        return Asker(caller.workspace_id, caller.key_id, caller.role, user[:200].decode("utf-8", "replace"))

    async def _server(self, scope: Scope, asker: Asker) -> McpServer:
        name = _name(scope)
        if name not in self._toolboxes:
            known = ", ".join(sorted(self._toolboxes)) or "none; give it one with `freehold serve --tools FILE.py`"
            raise NotFound(f"There is no toolbox {name[:80]!r} here. Loaded: {known}.")
        key, toolbox = self._of(name, asker.workspace_id, scope.get("query_string", b""))
        if key not in self._servers:
            await self._start(key, toolbox)
        return self._servers[key]

    def _of(self, name: str, workspace_id: str, query: bytes) -> tuple[tuple[str, str], Toolbox]:
        """The toolbox as the caller's workspace has it, and under what its server is kept."""
        toolbox = self._toolboxes[name]
        if not isinstance(toolbox, Shared):
            return (name, ""), toolbox
        if query:
            raise InvalidRequest(f"{PATH}/{name} takes no options: the tool's own arguments say what is wanted.")
        return (name, workspace_id), toolbox.within(workspace_id, "")

    async def _start(self, key: tuple[str, str], toolbox: Toolbox) -> None:
        from freehold.api.mcp_server import McpServer

        server = self._servers[key] = McpServer(toolbox, self._ids)
        self._running.append(asyncio.create_task(server.run(), name=f"mcp {key[0]}"))
        await server.ready.wait()

    def _refuse(self, error: FreeholdError, scope: Scope) -> Response:
        headers = dict(error.headers)
        if isinstance(error, Unauthenticated):
            # RFC 6750 and RFC 9728 (5.1), as MCP's authorization asks.
            wrong = 'error="invalid_token", ' if self._tokens.sent(scope["headers"]) else ""
            where = self._tokens.metadata_url(scope, _name(scope)) if _name(scope) in self._toolboxes else None
            told = f', {wrong}resource_metadata="{where}"' if where else ""
            headers["www-authenticate"] = f'Bearer realm="freehold"{told}'
        return Response(error_body(error, self._ids("req")), error.status, headers, media_type="application/json")


def _name(scope: Scope) -> str:
    """The toolbox that a path means."""
    return str(scope["path"]).removeprefix(PATH).strip("/")
