"""`GET /freehold/v1/sessions/{id}/box`: what the box of a session stands on, and whether it is open here."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.environments.fleet import Fleet
from freehold.environments.workdirs import Workdirs
from freehold.store.sessions import SessionRows


def routes(sessions: SessionRows, workdirs: Workdirs, fleet: Fleet) -> list[BaseRoute]:
    """The route. `base` is null until the session has had a box on this server."""

    async def box(request: Request) -> Response:
        row = await sessions.get(request.workspace_id, request.path["session_id"])
        meta = await asyncio.to_thread(workdirs.of(row.id).meta)
        image = row.environment_config.get("image")
        told = {"image": image, "base": meta.get("base"), "open": fleet.is_open(row.id)}
        return answer({"type": "session_box", **told})

    return [route("GET", "/freehold/v1/sessions/{session_id}/box", box)]
