"""`/v1/sessions/{id}/resources`: the files, repositories and memory stores that a session is given."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.agents.sessions import MOST_RESOURCES, NewFile, Sessions, shown_resource
from freehold.api.base import Request, answer, route
from freehold.errors import NotBuilt, NotFound

MOST_LISTED = 1000


def routes(sessions: Sessions) -> list[BaseRoute]:
    """Every route of a session's resources."""
    resources = _Resources(sessions)
    one = "/v1/sessions/{session_id}/resources/{resource_id}"
    return [
        route("POST", "/v1/sessions/{session_id}/resources", resources.add),
        route("GET", "/v1/sessions/{session_id}/resources", resources.page),
        route("GET", one, resources.retrieve),
        route("POST", one, resources.update),
        route("DELETE", one, resources.delete),
    ]


class _Resources:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def add(self, request: Request) -> Response:
        fields = await request.json("sessions.resources.add")
        if fields["type"] != "file":
            raise NotBuilt(f"type: {fields['type']!r} cannot be added to a session that exists; file can.")
        new = NewFile(fields["file_id"], fields.get("mount_path"))
        return answer(
            shown_resource(await self._sessions.add_file(request.workspace_id, request.path["session_id"], new))
        )

    async def page(self, request: Request) -> Response:
        row = await self._sessions.rows.get(request.workspace_id, request.path["session_id"])
        window = request.query.window(
            "resources", {"session": row.id}, default=max(MOST_RESOURCES, MOST_LISTED), most=MOST_LISTED
        )
        rows = (await self._sessions.rows.resources([row.id]))[row.id]
        later = [one for one in rows if window.key is None or (one.created_us, one.id) > window.key]
        return answer(window.page(later, shown_resource, lambda one: (one.created_us, one.id)))

    async def retrieve(self, request: Request) -> Response:
        row = await self._sessions.rows.get(request.workspace_id, request.path["session_id"])
        for resource in (await self._sessions.rows.resources([row.id]))[row.id]:
            if resource.id == request.path["resource_id"]:
                return answer(shown_resource(resource))
        raise NotFound(f"The session {row.id} has no resource {request.path['resource_id']!r}.")

    async def update(self, request: Request) -> Response:
        fields = await request.json("sessions.resources.update")
        session_id, resource_id = request.path["session_id"], request.path["resource_id"]
        token = fields["authorization_token"]
        return answer(
            shown_resource(await self._sessions.change_token(request.workspace_id, session_id, resource_id, token))
        )

    async def delete(self, request: Request) -> Response:
        resource_id = request.path["resource_id"]
        await self._sessions.remove_resource(request.workspace_id, request.path["session_id"], resource_id)
        return answer({"id": resource_id, "type": "session_resource_deleted"})
