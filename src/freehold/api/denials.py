"""`GET /freehold/v1/sessions/{id}/denied`: what a session's box asked of the network and did not get."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.clock import rfc3339
from freehold.environments.denials import Denials
from freehold.store.sessions import SessionRows

_MOST = 1000


def routes(sessions: SessionRows, denials: Denials) -> list[BaseRoute]:
    """The route."""

    async def denied(request: Request) -> Response:
        row = await sessions.get(request.workspace_id, request.path["session_id"])
        most = request.query.whole("limit", least=1, most=_MOST) or 100
        found = await denials.of(row.id, most)
        return answer(
            {"data": [{"at": rfc3339(one.at_us), "target": one.target, "reason": one.reason} for one in found]}
        )

    return [route("GET", "/freehold/v1/sessions/{session_id}/denied", denied)]
