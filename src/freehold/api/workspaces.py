"""`/freehold/v1/workspaces`: create, retrieve, list. For admin keys, whose holder runs the whole server."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.access.workspaces import Workspaces
from freehold.api.base import Request, answer, route
from freehold.api.plain import fields_of
from freehold.clock import rfc3339
from freehold.store.workspaces import Workspace

PATH = "/freehold/v1/workspaces"


def routes(workspaces: Workspaces) -> list[BaseRoute]:
    """Every route of workspaces."""

    async def create(request: Request) -> Response:
        fields = fields_of(await request.json(), {"name": str}, required=("name",))
        return answer(shown(await workspaces.create(fields["name"])))

    async def retrieve(request: Request) -> Response:
        return answer(shown(await workspaces.get(request.path["workspace_id"])))

    async def page(request: Request) -> Response:
        window = request.query.window("workspaces")
        rows = await workspaces.list(limit=window.limit, after=window.key)
        return answer(window.page(rows, shown, lambda row: (row.created_us, row.id)))

    return [
        route("POST", PATH, create, door="admin"),
        route("GET", PATH, page, door="admin"),
        route("GET", PATH + "/{workspace_id}", retrieve, door="admin"),
    ]


def shown(row: Workspace) -> dict[str, Any]:
    """A workspace as our routes show it."""
    return {
        "id": row.id,
        "type": "workspace",
        "name": row.name,
        "created_at": rfc3339(row.created_us),
        "archived_at": None if row.archived_us is None else rfc3339(row.archived_us),
    }
