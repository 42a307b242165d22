"""One connection to one MCP server: the official client in a task of its own, calls side by side on it.

Loaded when the first such server is met. Whatever the far end does (dies, hangs, floods, redirects, refuses), a caller
gets an answer or a `ServerFailed` within its time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import mcp_types as types
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from freehold import __version__
from freehold.agents.tools.remote.failures import ServerFailed
from freehold.calls import Attempted
from freehold.outbound.failures import WayOutFailed
from freehold.outbound.sdk_http import ANSWER, HttpClient, MakeClient, http_client

T = TypeVar("T")
log = logging.getLogger(__name__)
_CLOSE_S = 5.0
_MOST_PAGES = 20
_LOST_CODES = frozenset({types.CONNECTION_CLOSED, types.REQUEST_TIMEOUT})
_REFUSES_US = frozenset({401, 403})
_WORDS = 500
"""Characters of what a far end says about its failure."""


class McpConnection:
    """Made by `open`; ends by `close`, after a time of rest, or when the far end goes away."""

    def __init__(self, url: str, http: HttpClient, answer_bytes: int, idle_s: float) -> None:
        self._url = url
        self._http = http
        self._answer_bytes = answer_bytes
        self._idle_s = idle_s
        self._status = 0
        http.event_hooks["response"].append(self._answered)
        self._leave = asyncio.Event()
        self._failure: BaseException | None = None
        self._busy = self._calls = 0
        self._opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(self._live(), name="mcp connection")

    @classmethod
    async def open(
        cls,
        url: str,
        make: MakeClient,
        headers: Mapping[str, str],
        *,
        within_s: float,
        answer_bytes: int,
        idle_s: float,
    ) -> McpConnection:
        """Connect and shake hands.

        Raises:
            ServerFailed: it could not be reached, refuses us, or does not speak MCP.
        """
        connection = cls(url, http_client(make, headers, answer_bytes), answer_bytes, idle_s)
        try:
            async with asyncio.timeout(within_s):
                either: set[asyncio.Future[Any]] = {connection._opened, connection._owner}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as error:
            raise ServerFailed(f"it did not answer within {within_s:g} s", sent=False) from error
        finally:
            if not connection.is_open:
                await connection.close()
        if not connection._opened.done():
            raise connection._lost(sent=False)
        return connection

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._opened.done() and not self._owner.done() and not self._leave.is_set()

    async def tools(self, within_s: float) -> list[types.Tool]:
        """What it offers. Raises `ServerFailed`."""
        return await self._guarded(self._listed(), within_s, "list its tools")

    async def call(self, tool: str, arguments: Mapping[str, Any], within_s: float) -> types.CallToolResult:
        """Call a tool. Raises `ServerFailed`; `sent` says whether it may have taken effect."""
        client = self._opened.result()
        return await self._guarded(client.call_tool(tool, dict(arguments)), within_s, f"answer {tool}")

    async def close(self) -> None:
        """Say goodbye, for a few seconds at most, and let everything go."""
        self._leave.set()
        if not self._opened.done():
            self._owner.cancel()
        await asyncio.wait({self._owner}, timeout=_CLOSE_S)
        self._owner.cancel()
        await asyncio.gather(self._owner, return_exceptions=True)

    async def _live(self) -> None:
        transport = streamable_http_client(
            self._url, http_client=self._http, max_sse_event_size=self._answer_bytes, terminate_on_close=True
        )
        info = types.Implementation(name="freehold", version=__version__)
        try:
            async with self._http, Client(transport, client_info=info, cache=None) as client:
                self._opened.set_result(client)
                await self._rest()
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - the outer edge of a connection; its callers are told
            self._failure = error

    async def _rest(self) -> None:
        """Until we are to leave, or nobody has used it for a while."""
        while not self._leave.is_set():
            calls = self._calls
            try:
                async with asyncio.timeout(self._idle_s):
                    await self._leave.wait()
            except TimeoutError:
                if calls == self._calls and not self._busy:
                    self._leave.set()

    async def _listed(self) -> list[types.Tool]:
        client, found, cursor = self._opened.result(), list[types.Tool](), None
        for _ in range(_MOST_PAGES):
            page = await client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    async def _guarded(self, doing: Coroutine[Any, Any, T], within_s: float, what: str) -> T:
        work = asyncio.ensure_future(doing)
        self._busy += 1
        self._calls += 1
        try:
            either: set[asyncio.Future[Any]] = {work, self._owner}
            await asyncio.wait(either, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                if self._owner.done():
                    raise self._lost(sent=True)
                raise ServerFailed(f"it did not {what} within {within_s:g} s", sent=True)
            return work.result()
        except MCPError as error:
            await asyncio.sleep(0)  # a connection that broke has its reason by then
            if error.code in _LOST_CODES or self._owner.done() or self._refused:
                raise self._lost(sent=True) from error
            raise
        finally:
            self._busy -= 1
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _answered(self, response: ANSWER) -> None:
        self._status = response.status_code

    @property
    def _refused(self) -> bool:
        return self._status in _REFUSES_US

    def _lost(self, *, sent: bool) -> ServerFailed:
        self._leave.set()
        if self._refused:
            return ServerFailed(f"it answered HTTP {self._status}", sent=False, kind="mcp_authentication_failed_error")
        way_out = _found(self._failure, WayOutFailed)
        if isinstance(way_out, WayOutFailed):
            return ServerFailed(str(way_out), sent=sent and way_out.attempted is not Attempted.NOT_SENT)
        told = _found(self._failure, MCPError)
        if isinstance(told, MCPError):
            return ServerFailed(f"it said: {told.message[:_WORDS]}", sent=sent)
        if self._failure is not None:
            log.info("a connection to an MCP server ended with %s", type(self._failure).__name__)
        return ServerFailed("the connection ended", sent=sent)


def _found(error: BaseException | None, kind: type[BaseException]) -> BaseException | None:
    """The first of that kind inside groups and causes."""
    if error is None or isinstance(error, kind):
        return error
    inner: list[BaseException | None] = list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
    return next((found for one in [*inner, error.__cause__] if (found := _found(one, kind)) is not None), None)
