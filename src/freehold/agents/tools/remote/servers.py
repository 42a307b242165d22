"""The MCP servers that agents name by address: a connection a session and server, kept while it is used.

It goes out only through `outbound`: an address that is not public is refused unless the operator named its host. The
environment of a session has its say too: where its networking is limited, a server must be allowed there.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from freehold.agents.tools.remote.failures import ServerFailed
from freehold.config import setting
from freehold.environments.networking import EgressSettings, policy_of
from freehold.outbound.limits import Limits
from freehold.outbound.strangers import Strangers
from freehold.toolboxes.base import ToolResult, ToolSpec
from freehold.toolboxes.results import Sizes, blocks

if TYPE_CHECKING:
    from freehold.agents.tools.remote.connection import McpConnection

log = logging.getLogger(__name__)
Credentials = Callable[[str, str], Awaitable[Mapping[str, str]]]
"""The headers that a workspace has for an address; empty where it has none."""
_NO_HOSTS = EgressSettings()


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """How far MCP servers elsewhere are trusted."""

    mcp_private_hosts: tuple[str, ...] = setting(
        (),
        "Hosts that an agent's mcp_servers may name although their addresses are private; http:// is taken for them.",
    )
    mcp_connect_s: float = setting(
        20.0, "How long an MCP server may take to connect, and again to list its tools.", unit="s", least=0.01
    )
    mcp_call_s: float = setting(120.0, "How long one call of an MCP server's tool may take.", unit="s", least=0.01)
    mcp_answer_bytes: int = setting(10 << 20, "The largest answer taken from an MCP server.", unit="bytes", least=1024)
    mcp_idle_s: float = setting(
        60.0, "A connection to an MCP server that rests so long is closed.", unit="s", least=0.01
    )
    mcp_connections: int = setting(500, "Connections to MCP servers at once; further ones are refused.", least=1)


class Visit(Protocol):
    """Who goes to a server: a session of a workspace, in an environment."""

    @property
    def session_id(self) -> str:
        """The session."""
        ...

    @property
    def workspace_id(self) -> str:
        """Whose credentials are shown."""
        ...

    @property
    def environment(self) -> Mapping[str, Any]:
        """The environment's `config`."""
        ...


class RemoteServers:
    """Lists and calls the tools of MCP servers elsewhere."""

    def __init__(self, settings: RemoteSettings, sizes: Sizes, credentials: Credentials) -> None:
        self._settings = settings
        self._sizes = sizes
        self._credentials = credentials
        self._open: dict[str, asyncio.Task[McpConnection]] = {}
        limits = Limits(silence_s=settings.mcp_call_s, stall_s=settings.mcp_call_s, buffer_bytes=65_536)
        self._strangers = Strangers(settings.mcp_private_hosts, dict(os.environ), limits, settings.mcp_connect_s)

    async def tools(self, place: Visit, server: Mapping[str, Any]) -> Sequence[ToolSpec]:
        """What a server offers, as far as a model can be given it. Raises `ServerFailed`."""
        from freehold.agents.tools.remote.answers import usable

        connection = await self._connection(place, server["url"])
        specs, left_out = usable(server["name"], await connection.tools(self._settings.mcp_connect_s))
        if left_out:
            log.info("%s: %d tools of the MCP server %s do not fit", place.session_id, len(left_out), server["name"])
        return specs

    async def call(self, place: Visit, url: str, tool: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Call a tool; what the server says of it is a result, an error too. Raises `ServerFailed`."""
        from mcp.shared.exceptions import MCPError

        from freehold.agents.tools.remote.answers import content

        connection = await self._connection(place, url)
        try:
            given = await connection.call(tool, arguments, self._settings.mcp_call_s)
        except MCPError as error:
            return ToolResult(blocks(f"{tool}: {error.message}", self._sizes), is_error=True)
        except RuntimeError as error:  # its answer does not fit its own schema, or asks for what we do not offer
            return ToolResult(blocks(f"{tool}: {error}", self._sizes), is_error=True)
        return ToolResult(blocks(content(given), self._sizes), bool(given.is_error))

    async def close(self) -> None:
        """Let every connection go."""
        opening = list(self._open.values())
        self._open.clear()
        await asyncio.gather(*(_closed(task) for task in opening))

    async def _connection(self, place: Visit, url: str) -> McpConnection:
        _check_environment(place.environment, url)
        headers = await self._credentials(place.workspace_id, url)
        key = _key(place.session_id, url, headers)
        task = self._open.get(key)
        if task is None or (task.done() and not _usable(task)):
            self._make_room()
            task = self._open[key] = asyncio.create_task(self._opened(url, headers), name="mcp connect")
        return await asyncio.shield(task)

    async def _opened(self, url: str, headers: Mapping[str, str]) -> McpConnection:
        from freehold.agents.tools.remote.connection import McpConnection

        settings = self._settings
        return await McpConnection.open(
            url,
            self._strangers.client,
            headers,
            within_s=settings.mcp_connect_s,
            answer_bytes=settings.mcp_answer_bytes,
            idle_s=settings.mcp_idle_s,
        )

    def _make_room(self) -> None:
        for key, task in list(self._open.items()):
            if task.done() and not _usable(task):
                del self._open[key]
        if len(self._open) >= self._settings.mcp_connections:
            raise ServerFailed("this server has too many connections to MCP servers now", sent=False)


def _usable(task: asyncio.Task[McpConnection]) -> bool:
    return not task.cancelled() and task.exception() is None and task.result().is_open


async def _closed(task: asyncio.Task[McpConnection]) -> None:
    if not task.done():
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled() and task.exception() is None:
        await task.result().close()


def _key(session_id: str, url: str, headers: Mapping[str, str]) -> str:
    secret = hashlib.sha256(repr(sorted(headers.items())).encode()).hexdigest()
    return f"{session_id} {secret} {url}"


def _check_environment(environment: Mapping[str, Any], url: str) -> None:
    if environment["type"] == "self_hosted":  # it says nothing of the network that this server is in
        return
    if environment.get("networking") is None:  # a self-hosted one: its boxes are not this server's, its calls are
        return
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    allowed = (environment.get("networking") or {}).get("allow_mcp_servers")
    if not allowed and policy_of(environment, (), _NO_HOSTS).refusal(parts.hostname or "", port) is not None:
        raise ServerFailed(
            "the environment's networking is limited: set allow_mcp_servers, or list the host in allowed_hosts",
            sent=False,
        )
