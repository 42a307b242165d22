"""Sessions: which there are, and one read like a story while it goes on; confirm, deny, say, interrupt, fork."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response, StreamingResponse

from freehold.console.downloads import HandedOn
from freehold.console.entries import Entry, entries, entry
from freehold.console.frames import events_of
from freehold.console.turns import turns
from freehold.console.visit import SAFE, Visit
from freehold.within import Query, Refused

SHOWN_AT_FIRST = 500
_TURNS_SHOWN = 20
_BEHIND = 100
"""Events that may come between the making of the page and its stream."""


async def listed(visit: Visit) -> Response:
    """Newest first."""
    page = await visit.api.get("/v1/sessions", {"limit": 50, "page": visit.asked("page")})
    return visit.show("sessions.html", sessions=page["data"], next_page=page.get("next_page"))


async def create(visit: Visit) -> Response:
    """A session of an agent, in an environment, from the agent's page."""
    form = await visit.form()
    body = {name: str(form.get(name, "")) for name in ("agent", "environment_id", "title") if form.get(name)}
    made = await visit.api.post("/v1/sessions", body)
    return visit.go(f"/console/sessions/{made['id']}")


async def show(visit: Visit) -> Response:
    """One, with its newest events; older ones are a page back."""
    session_id = visit.id("session_id")
    session = await visit.api.get(f"/v1/sessions/{session_id}")
    query: Query = {"limit": SHOWN_AT_FIRST, "order": "desc", "page": visit.asked("page")}
    page = await visit.api.get(f"/v1/sessions/{session_id}/events", query)
    newest_first = page["data"]
    events = list(reversed(newest_first))
    told = entries(events)
    calls = await visit.api.get("/freehold/v1/calls", {"session_id": session_id, "limit": 100})
    return visit.show(
        "session.html",
        session=session,
        turns=turns(events, calls["data"], more=bool(calls.get("next_page")))[:_TURNS_SHOWN],
        points=await _points(visit, session_id),
        entries=told,
        waiting=waiting(session, told),
        last=newest_first[0]["id"] if newest_first else "",
        older=page.get("next_page"),
        files=await _files(visit, session_id),
        bill=await visit.api.get("/freehold/v1/bill", {"session_id": session_id}),
        live=not visit.asked("page"),
    )


async def live(visit: Visit) -> Response:
    """The session's events from now on, each as the piece of page that shows it."""
    return StreamingResponse(
        _live(visit, visit.id("session_id"), visit.asked("after")),
        200,
        {**SAFE, "x-accel-buffering": "no"},
        media_type="text/event-stream",
    )


async def say(visit: Visit) -> Response:
    """Send a message."""
    text = str((await visit.form()).get("text", "")).strip()
    if text:
        await _tell(visit, {"type": "user.message", "content": [{"type": "text", "text": text}]})
    return _back(visit)


async def answer(visit: Visit) -> Response:
    """Allow or deny a tool call that waits."""
    form = await visit.form()
    event: dict[str, Any] = {
        "type": "user.tool_confirmation",
        "tool_use_id": str(form.get("tool_use_id", "")),
        "result": "allow" if form.get("result") == "allow" else "deny",
    }
    if event["result"] == "deny" and form.get("reason"):
        event["deny_message"] = str(form["reason"])
    await _tell(visit, event)
    return _back(visit)


async def interrupt(visit: Visit) -> Response:
    """Stop what it is doing."""
    await _tell(visit, {"type": "user.interrupt"})
    return _back(visit)


async def fork(visit: Visit) -> Response:
    """A second session that goes on from the end of a turn, by default the last, with its files."""
    form = await visit.form()
    body = {"event_id": str(form.get("event_id", "")) or None, "title": str(form.get("title", "")).strip() or None}
    made = await visit.api.post(f"/freehold/v1/sessions/{visit.id('session_id')}/fork", body)
    return visit.go(f"/console/sessions/{made['id']}", "This session goes on from there.")


async def archive(visit: Visit) -> Response:
    """Put it away."""
    await visit.api.post(f"/v1/sessions/{visit.id('session_id')}/archive", {})
    return visit.go(f"/console/sessions/{visit.id('session_id')}", "The session is archived.")


async def download(visit: Visit) -> Response:
    """A file, always as a download and never as a page."""
    return HandedOn(visit, f"/v1/files/{visit.id('file_id')}/content", "file")


def waiting(session: dict[str, Any], told: list[Entry]) -> list[Entry]:
    """Calls that need a person's yes or no, as far as the last idle status says so."""
    idle = next((one for one in reversed(told) if one.kind == "session.status_idle"), None)
    wanted = set(idle.event.get("stop_reason", {}).get("event_ids", ())) if idle else set()
    if session["status"] != "idle":
        return []
    return [one for one in told if one.id in wanted and one.kind != "agent.custom_tool_use"]


async def _tell(visit: Visit, event: dict[str, Any]) -> None:
    await visit.api.post(f"/v1/sessions/{visit.id('session_id')}/events", {"events": [event]})


def _back(visit: Visit) -> Response:
    """A script that sends in the background needs no page; a form without one gets the session again."""
    if visit.request.headers.get("accept", "").startswith("application/json"):
        return Response("{}", 200, SAFE, media_type="application/json")
    return visit.go(f"/console/sessions/{visit.id('session_id')}")


async def _files(visit: Visit, session_id: str) -> list[dict[str, Any]]:
    with contextlib.suppress(Refused):
        return list((await visit.api.get("/v1/files", {"scope_id": session_id, "limit": 100}))["data"])
    return []


async def _points(visit: Visit, session_id: str) -> list[dict[str, Any]]:
    """Where it can be forked, the newest first."""
    with contextlib.suppress(Refused):
        return list(reversed((await visit.api.get(f"/freehold/v1/sessions/{session_id}/points"))["data"]))[
            :_TURNS_SHOWN
        ]
    return []


async def _live(visit: Visit, session_id: str, after: str) -> AsyncIterator[bytes]:
    path, seen = f"/v1/sessions/{session_id}/events", {after}
    async with visit.api.open("GET", f"{path}/stream", {"event_deltas[]": "agent.message"}) as stream:
        if stream.status != 200:
            yield _frame("over", {"status": stream.status})
            return
        missed = await visit.api.get(path, {"limit": _BEHIND, "order": "desc"})
        for event in _newer(missed["data"], after):
            seen.add(event["id"])
            yield _shown(visit, event)
        async for event in events_of(stream.parts):
            kind = event.get("type")
            if kind == "event_delta":
                text = event.get("delta", {}).get("content", {}).get("text", "")
                yield _frame("delta", {"id": event.get("event_id"), "text": text})
            elif kind == "ping" or kind == "event_start":
                yield b": ping\n\n"
            elif event.get("id") not in seen:
                yield _shown(visit, event)


def _newer(newest_first: list[dict[str, Any]], after: str) -> list[dict[str, Any]]:
    newer = []
    for event in newest_first:
        if event["id"] == after:
            break
        newer.append(event)
    return newer[::-1]


def _shown(visit: Visit, event: dict[str, Any]) -> bytes:
    language = visit.preferences.language
    one = entry(event)
    ask = one.asks and visit.may_change
    html = visit.rendering.part("entry.html", language, {"entry": one})
    return _frame("entry", {"id": one.id, "kind": one.kind, "html": html, "status": _status(event), "asks": ask})


def _status(event: dict[str, Any]) -> str | None:
    """What the session's status is after this event, where it says so."""
    kind = str(event.get("type"))
    if kind == "session.status_idle":
        waits = event.get("stop_reason", {}).get("type") == "requires_action"
        return "waits" if waits else "idle"
    return kind.rpartition("_")[2] if kind.startswith("session.status_") else None


def _frame(name: str, value: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n".encode()
