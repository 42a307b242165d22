"""`GET /freehold/v1/bill`: what the calls of this workspace, one key or one session cost, from their rows."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.store.bills import SUMMED, by_model
from freehold.store.engine import Store

_COUNTS = ("calls", "failed_calls", "unpriced_calls", *SUMMED)


def routes(store: Store) -> list[BaseRoute]:
    """The bill."""

    async def bill(request: Request) -> Response:
        # Rows of calls go in behind the answers; whoever asks for the bill wants those before the question.
        await store.flush()
        query = request.query
        session_id, key_id = query.text("session_id"), query.text("key_id")
        within = query.times("started_at", ("gte", "lt"))
        query.refuse_others()
        async with store.read() as conn:
            models = await by_model(
                conn,
                request.workspace_id,
                session_id=session_id,
                key_id=key_id,
                from_us=within.gte,
                to_us=within.lt,
            )
        total: dict[str, Any] = {name: sum(row[name] for row in models) for name in _COUNTS}
        return answer({"type": "bill", "total": total, "models": models})

    return [route("GET", "/freehold/v1/bill", bill)]
