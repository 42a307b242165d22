"""`GET /freehold/v1/sessions/{id}/box`: what the box of a session stands on, whether it is open, what it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.environments.fleet import Fleet
from freehold.environments.layers import Progress
from freehold.environments.workdirs import Workdirs
from freehold.store.sessions import SessionRows


def routes(
    sessions: SessionRows, workdirs: Workdirs, fleet: Fleet, installing: Mapping[str, Progress]
) -> list[BaseRoute]:
    """The route. `base` and `disk` (`quota` or `watch`) are null until the session has had a box on this server;
    `installing` unless it waits for it.
    """

    async def box(request: Request) -> Response:
        row = await sessions.get(request.workspace_id, request.path["session_id"])
        meta = await asyncio.to_thread(workdirs.of(row.id).meta)
        image = row.environment_config.get("image")
        told = {"image": image, "base": meta.get("base"), "disk": meta.get("disk"), "open": fleet.is_open(row.id)}
        progress = installing.get(row.id)
        told["installing"] = None if progress is None else asdict(progress)
        return answer({"type": "session_box", **told})

    return [route("GET", "/freehold/v1/sessions/{session_id}/box", box)]
