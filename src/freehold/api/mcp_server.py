"""One toolbox as an MCP server: the official package speaks the protocol, the toolbox does the work.

Stateless: each request stands for itself, so that any server process of one database can answer it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Receive, Scope, Send

from freehold import __version__
from freehold.ids import NewId
from freehold.toolboxes.base import Toolbox, ToolResult

IDEMPOTENCY = "dev.freehold/idempotency-key"
"""In `_meta` of a call: the key that the tool is handed, the same when a client repeats a call."""
_LARGEST_REQUEST_BYTES = 4 << 20


class McpServer:
    """ASGI application of one toolbox; serves while `run` does."""

    def __init__(self, toolbox: Toolbox, ids: NewId) -> None:
        self._toolbox = toolbox
        self._ids = ids
        self.ready = asyncio.Event()
        server: Server[Any] = Server(
            toolbox.name, version=__version__, on_list_tools=self._listed, on_call_tool=self._called
        )
        self._manager = StreamableHTTPSessionManager(
            server, stateless=True, max_request_body_size=_LARGEST_REQUEST_BYTES
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await self._manager.handle_request(scope, receive, send)

    async def run(self) -> None:
        """Until it is cancelled."""
        async with self._manager.run():
            self.ready.set()
            await asyncio.Event().wait()

    async def _listed(self, context: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        tools = [
            types.Tool(name=spec.name, description=spec.description, input_schema=dict(spec.input_schema))
            for spec in self._toolbox.tools()
        ]
        return types.ListToolsResult(tools=tools)

    async def _called(self, context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        asker = replace(context.request.scope["freehold.asker"], report=context.session.report_progress)
        key = str((params.meta or {}).get(IDEMPOTENCY) or self._ids("mcpc"))[:200]
        return told(await self._toolbox.call(params.name, params.arguments or {}, key=key, asker=asker))


def told(result: ToolResult) -> types.CallToolResult:
    """What a tool gave, in MCP's blocks. It has none for passages that are cited: they go as text for whoever reads,
    and as they are in `structuredContent` for clients that hand them to Claude.
    """
    passages = [dict(block) for block in result.content if block["type"] == "search_result"]
    return types.CallToolResult(
        content=[_block(block) for block in result.content],
        is_error=result.is_error,
        structured_content={"results": passages} if passages else None,
    )


def _block(block: Mapping[str, Any]) -> types.ContentBlock:
    source = block.get("source") or {}
    if block["type"] == "text":
        return types.TextContent(text=str(block["text"]))
    if block["type"] == "image" and source.get("type") == "base64":
        return types.ImageContent(data=source["data"], mime_type=source["media_type"])
    if block["type"] == "document" and source.get("type") in ("base64", "text"):
        return _document(block, source)
    if block["type"] == "search_result":
        texts = "\n".join(str(part.get("text", "")) for part in block["content"])
        return types.TextContent(text=f"{block['title']}\n[{block['source']}]\n\n{texts}")
    return types.TextContent(text=f"[a {block['type']}, which MCP cannot carry]")


def _document(block: Mapping[str, Any], source: Mapping[str, Any]) -> types.EmbeddedResource:
    uri = f"document:///{block.get('title') or 'untitled'}".replace(" ", "%20")
    if source["type"] == "text":
        text = types.TextResourceContents(uri=uri, mime_type=source["media_type"], text=source["data"])
        return types.EmbeddedResource(resource=text)
    blob = types.BlobResourceContents(uri=uri, mime_type=source["media_type"], blob=source["data"])
    return types.EmbeddedResource(resource=blob)
