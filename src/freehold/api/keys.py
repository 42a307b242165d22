"""`/freehold/v1/keys`: create, retrieve, list, revoke. For admin keys, whose holder runs the whole server.

The secret of a key is in the answer to its creation and nowhere else, ever.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.access.keys import Keys
from freehold.api.base import Request, answer, route
from freehold.api.plain import fields_of
from freehold.clock import rfc3339
from freehold.errors import InvalidRequest
from freehold.store.keys import KeyRow

PATH = "/freehold/v1/keys"


def routes(keys: Keys) -> list[BaseRoute]:
    """Every route of keys."""

    async def create(request: Request) -> Response:
        known = {"name": str, "workspace_id": str, "role": str, "environment_id": str}
        fields = fields_of(await request.json(), known, required=("name",))
        workspace_id = fields.get("workspace_id", request.workspace_id)
        if "environment_id" in fields:
            if "role" in fields:
                raise InvalidRequest("role: the key of an environment is a worker's; leave the role out.")
            made = await keys.create_for_environment(workspace_id, fields["name"], fields["environment_id"])
            return answer({**shown(made.key), "secret": made.secret})
        made = await keys.create(workspace_id, fields["name"], fields.get("role", "member"))
        return answer({**shown(made.key), "secret": made.secret})

    async def retrieve(request: Request) -> Response:
        return answer(shown(await keys.get(request.path["key_id"])))

    async def page(request: Request) -> Response:
        workspace_id = request.query.text("workspace_id")
        window = request.query.window("keys", {"workspace_id": workspace_id})
        rows = await keys.list(limit=window.limit, after=window.key, workspace_id=workspace_id)
        return answer(window.page(rows, shown, lambda row: (row.created_us, row.id)))

    async def revoke(request: Request) -> Response:
        await request.json()
        return answer(shown(await keys.revoke(request.path["key_id"])))

    return [
        route("POST", PATH, create, door="admin"),
        route("GET", PATH, page, door="admin"),
        route("GET", PATH + "/{key_id}", retrieve, door="admin"),
        route("POST", PATH + "/{key_id}/revoke", revoke, door="admin"),
    ]


def shown(row: KeyRow) -> dict[str, Any]:
    """A key as our routes show it: never the key itself."""
    return {
        "id": row.id,
        "type": "api_key",
        "name": row.name,
        "workspace_id": row.workspace_id,
        "role": row.role,
        "environment_id": row.environment_id,
        "hint": f"…{row.hint}",
        "created_at": rfc3339(row.created_us),
        "revoked_at": None if row.revoked_us is None else rfc3339(row.revoked_us),
    }
