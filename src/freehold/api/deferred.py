"""`GET /freehold/v1/deferred/{id}`: whether a call that was offloaded is answered, and its answer."""

from __future__ import annotations

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, route
from freehold.batches.deferring import POLL, shown
from freehold.store.deferred import DeferredRows


def routes(rows: DeferredRows) -> list[BaseRoute]:
    """The route to poll."""

    async def poll(request: Request) -> Response:
        row = await rows.get(request.workspace_id, request.path["deferred_id"])
        return Response(msgspec.json.encode(shown(row)), media_type="application/json")

    return [route("GET", f"{POLL}/{{deferred_id}}", poll)]
