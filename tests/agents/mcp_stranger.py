"""A real MCP server of the official package, in a process of its own: `python -m tests.agents.mcp_stranger`.

It prints its port. Its tools add, wait, die and flood; `/door/…` beside it are answers that are no MCP at all.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

SECRET = "a-secret-that-must-never-be-seen"
server = MCPServer("stranger", log_level="CRITICAL")
together = asyncio.Barrier(2)


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def meet(name: str) -> str:
    """Answers when two of these calls are there at once."""
    await together.wait()
    return f"{name} met the other"


@server.tool()
async def hang() -> str:
    """Never answers."""
    await asyncio.Event().wait()
    return ""


@server.tool()
def die() -> str:
    """Ends the server in the middle of the call."""
    os._exit(3)


@server.tool()
def flood(megabytes: int) -> str:
    """Answers with that much."""
    return "x" * (megabytes << 20)


@server.tool()
def fail() -> str:
    """Raises."""
    raise ToolError("no luck today")


@server.tool()
def picture() -> Image:
    """A small picture."""
    return Image(data=b"\x89PNG", format="png")


@server.tool()
async def steps(context: Context) -> str:
    """Tells of its progress."""
    for step in range(3):
        await context.report_progress(step, 3)
    return "three steps"


async def away(request: Request) -> Response:
    return RedirectResponse(request.query_params["to"], 307)


async def rude(request: Request) -> Response:
    return PlainTextResponse("I am no MCP server")


async def mute(request: Request) -> Response:
    await asyncio.Event().wait()
    return Response()


class Locked:
    """Lets in whoever shows the secret."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        shown = dict(scope["headers"]).get(b"authorization")
        if shown != f"Bearer {SECRET}".encode():
            await Response(status_code=401, headers={"www-authenticate": "Bearer"})(scope, receive, send)
            return
        await self._inner({**scope, "path": "/mcp", "root_path": ""}, receive, send)


def main() -> None:
    """Serve until killed."""
    mcp = server.streamable_http_app()
    routes = [Route(f"/door/{f.__name__}", f, methods=["GET", "POST", "DELETE"]) for f in (away, rude, mute)]
    app = Starlette(
        routes=[*routes, Mount("/locked", Locked(mcp)), Mount("/", mcp)], lifespan=mcp.router.lifespan_context
    )
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    asyncio.run(uvicorn.Server(config).serve([listening]))


if __name__ == "__main__":
    main()
    sys.exit()
