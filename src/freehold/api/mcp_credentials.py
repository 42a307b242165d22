"""`/freehold/v1/mcp_credentials`: what a workspace shows to MCP servers elsewhere. The values never come back out."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.access.mcp_credentials import McpCredential, McpCredentials
from freehold.api.base import Request, answer, route
from freehold.errors import InvalidRequest
from freehold.wire.pages import cursor_page

PATH = "/freehold/v1/mcp_credentials"


def routes(credentials: McpCredentials) -> list[BaseRoute]:
    """Every route of credentials for MCP servers."""

    async def put(request: Request) -> Response:
        url, headers = _asked(await request.json())
        return answer(shown(await credentials.put(request.workspace_id, url, headers)))

    async def every(request: Request) -> Response:
        request.query.refuse_others()
        return answer(cursor_page([shown(one) for one in await credentials.all(request.workspace_id)], None))

    async def remove(request: Request) -> Response:
        credential_id = request.path["credential_id"]
        await credentials.remove(request.workspace_id, credential_id)
        return answer({"id": credential_id, "type": "mcp_credential_deleted"})

    return [
        route("POST", PATH, put),
        route("GET", PATH, every),
        route("DELETE", PATH + "/{credential_id}", remove),
    ]


def shown(credential: McpCredential) -> dict[str, Any]:
    """A credential without its values."""
    return {
        "id": credential.id,
        "type": "mcp_credential",
        "url": credential.url,
        "headers": sorted(credential.headers),
    }


def _asked(body: dict[str, Any]) -> tuple[str, dict[str, str]]:
    for name in body:
        if name not in ("url", "headers"):
            raise InvalidRequest(f"{name[:80]}: there is no such field here. Known: url, headers.")
    url, headers = body.get("url"), body.get("headers")
    if not isinstance(url, str) or len(url) > 2048:
        raise InvalidRequest("url: is required, as text of at most 2048 characters.")
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise InvalidRequest('headers: is required, as an object of texts: {"authorization": "Bearer …"}.')
    return url, headers
