"""`/freehold/v1/batches/estimate`, `…/{id}/forecast`, `…/{id}/spread`: what a batch will cost; how its calls were."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.batches.estimates import Estimate
from freehold.batches.forecast import CONFIDENCE, Range
from freehold.batches.intake import BODY_LIMIT_BYTES
from freehold.batches.lifecycle import Batches

_OURS = "/freehold/v1/batches"


def routes(batches: Batches) -> list[BaseRoute]:
    """Every route of forecasts."""
    resource = _Forecasts(batches)
    return [
        route("POST", f"{_OURS}/estimate", resource.estimate),
        route("GET", f"{_OURS}/{{message_batch_id}}/forecast", resource.forecast),
        route("GET", f"{_OURS}/{{message_batch_id}}/spread", resource.spread),
    ]


class _Forecasts:
    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    async def estimate(self, request: Request) -> Response:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        found, engine = await self._batches.estimate(request.chunks(BODY_LIMIT_BYTES), request.caller, headers)
        return answer({"type": "batch_estimate", "engine": engine, **shown(found)})

    async def forecast(self, request: Request) -> Response:
        row = await self._batches.rows.get(request.workspace_id, request.path["message_batch_id"])
        stored = {} if row.forecast is None else json.loads(row.forecast)
        made, ended = stored.get("cost_nanodollars"), row.status == "ended"
        now = None if ended else await self._batches.estimates.now(row.id)
        whole = ended and not row.unpriced and row.succeeded == row.total - stored.get("refused", 0)
        return answer(
            {
                "type": "batch_forecast",
                "id": row.id,
                "confidence": CONFIDENCE,
                "made": None if made is None else _rounded(Range(**made)),
                "now": None if now is None else _rounded(now),
                "cost_nanodollars": row.cost_nanodollars,
                "held": made["low"] <= row.cost_nanodollars <= made["high"] if made and whole else None,
            }
        )

    async def spread(self, request: Request) -> Response:
        row = await self._batches.rows.get(request.workspace_id, request.path["message_batch_id"])
        return answer({"type": "batch_spread", "id": row.id, **await self._batches.estimates.spread(row.id)})


def shown(found: Estimate) -> dict[str, Any]:
    """An estimate as JSON."""
    return {
        "basis": found.basis,
        "confidence": CONFIDENCE if found.basis == "history" else 1.0,
        "requests": found.requests,
        "refused": found.refused,
        "counted": found.counted,
        "known_calls": found.known_calls,
        "input_tokens": found.input_tokens,
        "output_tokens": _rounded(found.output_tokens),
        "cost_nanodollars": None if found.cost_nanodollars is None else _rounded(found.cost_nanodollars),
    }


def _rounded(found: Range) -> dict[str, int]:
    return {"low": round(found.low), "expected": round(found.expected), "high": round(found.high)}
