"""`GET /freehold/v1/alerts`: what is or was wrong in a workspace; webhooks are told of the same."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.clock import Clock, rfc3339
from freehold.store.alerts import AlertRow, listed
from freehold.store.engine import Store


def routes(store: Store, *, clock: Clock) -> list[BaseRoute]:
    """The route."""

    async def page(request: Request) -> Response:
        only_open = request.query.boolean("open")
        window = request.query.window("alerts", {"open": only_open})
        now_us = clock.now_us()
        async with store.read() as conn:
            rows = await listed(
                conn, request.workspace_id, only_open=only_open, now_us=now_us, after=window.after, limit=window.limit
            )
        return answer(window.page(rows, lambda row: _shown(row, now_us), lambda row: (row.opened_us, row.id)))

    return [route("GET", "/freehold/v1/alerts", page)]


def _shown(row: AlertRow, now_us: int) -> dict[str, Any]:
    ended = row.closed_us
    if ended is None and row.until_us is not None and row.until_us <= now_us:
        ended = row.until_us
    return {
        "id": row.id,
        "type": "alert",
        "kind": row.kind,
        "figures": json.loads(row.figures),
        "opened_at": rfc3339(row.opened_us),
        "ended_at": None if ended is None else rfc3339(ended),
    }
