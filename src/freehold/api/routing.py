"""`/freehold/v1/routing/decisions`: which model answered a call that left the choice to us, and why."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.clock import rfc3339
from freehold.errors import NotFound
from freehold.gateway.routing.decision import Decision, explain
from freehold.gateway.routing.kept import read_record
from freehold.store.route_decisions import DecisionRow, RouteDecisions

_NEWEST = 100


def routes(decisions: RouteDecisions) -> list[BaseRoute]:
    """The decisions of a workspace."""

    async def newest(request: Request) -> Response:
        request.query.refuse_others()
        rows = await decisions.newest(request.workspace_id, _NEWEST)
        return answer({"data": [_brief(row, read_record(row.decided).decision) for row in rows]})

    async def one(request: Request) -> Response:
        request.query.refuse_others()
        call_id = request.path["call_id"]
        row = await decisions.get(request.workspace_id, call_id)
        if row is None:
            raise NotFound(
                f"There is no routing decision about the call {call_id[:80]!r}. Only calls for an alias such as `auto` "
                "have one; the answer's `x-freehold-route` names it after `call=`, and `freehold route list` shows it."
            )
        return answer(_whole(row))

    return [
        route("GET", "/freehold/v1/routing/decisions", newest),
        route("GET", "/freehold/v1/routing/decisions/{call_id}", one),
    ]


def _brief(row: DecisionRow, decision: Decision) -> dict[str, Any]:
    return {
        "type": "routing_decision",
        "call_id": row.call_id,
        "made_at": rfc3339(row.made_us),
        "asked": row.alias,
        "tier": decision.tier,
        "model": decision.model,
        "because": decision.because,
    }


def _whole(row: DecisionRow) -> dict[str, Any]:
    conversation, inputs, decision = read_record(row.decided)
    return {
        **_brief(row, decision),
        "conversation": conversation,
        "explanation": explain(inputs, decision),
        "inputs": msgspec.to_builtins(inputs),
        "steps": msgspec.to_builtins(decision.steps),
    }
