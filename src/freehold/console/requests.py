"""Requests: the record of model calls, searched, summed, read one by one, and made again on another model."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from freehold.console.spans import SPANS
from freehold.console.visit import Visit
from freehold.within import Query, Refused

KNOWN = ("day", "model", "key", "session", "user", "task_type", "source", "upstream")
"""What calls can be summed by."""
_PROMPT = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
MOST_ROWS = 100
"""Of a table of usage: the dearest."""
_SOUGHT = ("model", "user_id", "session_id", "key_id", "task_type", "error_type", "status", "failed", "recorded")


async def listed(visit: Visit) -> Response:
    """The newest calls that fit what is sought."""
    sought = {name: visit.asked(name) for name in _SOUGHT}
    within, since = _within(visit, sought)
    query: Query = {**sought, "started_at[gte]": since, "limit": 50, "page": visit.asked("page")}
    page = await visit.api.get("/freehold/v1/calls", query)
    return visit.show(
        "requests.html",
        calls=page["data"],
        sought=sought,
        within=within,
        since=since,
        spans=list(SPANS),
        next_page=page.get("next_page"),
    )


def _within(visit: Visit, sought: dict[str, str]) -> tuple[str, str]:
    """How far back is looked, and since when exactly: a search looks through a day unless it is told to go on, for what
    is rare would be sought through all calls there are. A further page keeps the time of the first."""
    searched = any(value for name, value in sought.items() if name != "session_id")
    within = visit.asked("within") or ("day" if searched else "all")
    if within not in SPANS:
        return "all", ""
    return within, visit.asked("since") if visit.asked("page") else SPANS[within].since()


async def summed(visit: Visit) -> Response:
    """Calls by one thing that their rows know, since the beginning of a day."""
    by = visit.asked("by", "model")
    by = by if by in KNOWN else "model"
    within = visit.asked("within") if visit.asked("within") in (*SPANS, "all") else "month"
    since = SPANS[within].since()[:10] + "T00:00:00Z" if within in SPANS else ""
    query: Query = {
        "by[]": by,
        "started_at[gte]": since,
        "order": "name" if by == "day" else "cost",
        "limit": 400 if by == "day" else MOST_ROWS,
    }
    usage = await visit.api.get("/freehold/v1/usage", query)
    rows, total = usage["data"], usage["total"]
    return visit.show(
        "usage.html",
        by=by,
        within=within,
        spans=[*(name for name in SPANS if name != "hour"), "all"],
        since=since[:10],
        rows=rows,
        total=total,
        more=usage["has_more"],
        known=KNOWN,
    )


async def show(visit: Visit) -> Response:
    """One call whole: its route, its cache, its retries, and what was said where that was recorded."""
    return await _one(visit, None)


async def replay(visit: Visit) -> Response:
    """The recorded request once more, on the model of the form; it costs what a call costs."""
    call = await visit.api.get(f"/freehold/v1/calls/{visit.id('call_id')}")
    asked = _asked(call)
    if asked is None:
        raise Refused(400, "This call was not recorded whole, so it cannot be made again.")
    request = call["recording"]["request"]
    asked["model"] = str((await visit.form()).get("model", "")).strip() or asked.get("model")
    if asked.get("stream"):
        asked["stream"] = False
    kept = [(b"anthropic-beta", value.encode()) for name, value in request["headers"] if name == "anthropic-beta"]
    api = replace(visit.api, headers=[*visit.api.headers, *kept])
    return await _one(visit, await api.post(request["path"], asked))


async def _one(visit: Visit, again: dict[str, Any] | None) -> Response:
    call = await visit.api.get(f"/freehold/v1/calls/{visit.id('call_id')}")
    recording = call.pop("recording", None)
    decision = None
    with contextlib.suppress(Refused):
        decision = await visit.api.get(f"/freehold/v1/routing/decisions/{call['id']}")
    figures = {name: value for name, value in call.items() if value not in (None, "")}
    prompt = sum(call.get(name) or 0 for name in _PROMPT)
    return visit.show(
        "request.html", call=call, figures=figures, recording=recording, again=again, decision=decision, prompt=prompt
    )


def _asked(call: dict[str, Any]) -> dict[str, Any] | None:
    """The request of a recording, if it is there and a JSON object."""
    body = ((call.get("recording") or {}).get("request") or {}).get("body")
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            return None
    return body if isinstance(body, dict) else None
