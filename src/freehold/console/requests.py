"""Requests: the record of model calls, searched, summed, read one by one, and made again on another model."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from freehold.console.public import Query, Refused
from freehold.console.visit import Visit

KNOWN = ("day", "model", "key", "session", "user", "task_type", "source", "upstream")
"""What calls can be summed by."""
_SOUGHT = ("model", "user_id", "session_id", "key_id", "task_type", "error_type", "status", "failed", "recorded")


async def listed(visit: Visit) -> Response:
    """The newest calls that fit what is sought."""
    sought = {name: visit.asked(name) for name in _SOUGHT}
    query: Query = {**sought, "limit": 50, "page": visit.asked("page")}
    page = await visit.api.get("/freehold/v1/calls", query)
    return visit.show("requests.html", calls=page["data"], sought=sought, next_page=page.get("next_page"))


async def summed(visit: Visit) -> Response:
    """All calls, by one thing that their rows know."""
    by = visit.asked("by", "model")
    usage = await visit.api.get("/freehold/v1/usage", {"by[]": by if by in KNOWN else "model"})
    return visit.show("usage.html", by=by, rows=usage["data"], total=usage["total"], known=KNOWN)


async def show(visit: Visit) -> Response:
    """One call whole: its route, its cache, its retries, and what was said where that was recorded."""
    return await _one(visit, None)


async def replay(visit: Visit) -> Response:
    """The recorded request once more, on the model of the form; it costs what a call costs."""
    call = await visit.api.get(f"/freehold/v1/calls/{visit.id('call_id')}")
    asked = _asked(call)
    if asked is None:
        raise Refused(400, "This call was not recorded whole, so it cannot be made again.")
    model = str((await visit.form()).get("model", "")).strip() or asked.get("model")
    return await _one(visit, await visit.api.post("/v1/messages", {**asked, "model": model, "stream": False}))


async def _one(visit: Visit, again: dict[str, Any] | None) -> Response:
    call = await visit.api.get(f"/freehold/v1/calls/{visit.id('call_id')}")
    recording = call.pop("recording", None)
    figures = {name: value for name, value in call.items() if value not in (None, "")}
    return visit.show("request.html", call=call, figures=figures, recording=recording, again=again)


def _asked(call: dict[str, Any]) -> dict[str, Any] | None:
    """The request of a recording, if it is there and a JSON object."""
    body = ((call.get("recording") or {}).get("request") or {}).get("body")
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            return None
    return body if isinstance(body, dict) else None
