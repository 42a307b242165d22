"""`/v1/sessions/{id}/events`: send, list, stream; and the same lists and streams for the threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from freehold.access.keys import Worker
from freehold.agents.feed import Feed
from freehold.agents.inbox import Inbox
from freehold.api.base import Request, answer, route
from freehold.api.queries import Query, Range
from freehold.errors import InvalidRequest, PermissionDenied
from freehold.store import session_log
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.session_log import Event, Place
from freehold.store.sessions import read_session
from freehold.wire.pages import cursor_page

MOST_LISTED = 1000
MOST_PAGE_BYTES = 32 << 20
"""Of the events on one page, about: each may hold megabytes of images. The page has fewer then than were asked for."""
_READ_FIRST, _READ_MORE = 8, 4
"""Events that are read at once, and how many times as many then: behind small ones large ones may come."""
_OF_WORKERS = ("user.tool_result", "user.custom_tool_result")
PREVIEWED = ("agent.message", "agent.thinking")
_MOST_DELTAS = 100
_STREAM_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}

TYPES = frozenset(
    {
        "user.message",
        "user.interrupt",
        "user.tool_confirmation",
        "user.custom_tool_result",
        "user.tool_result",
        "user.define_outcome",
        "system.message",
        "agent.custom_tool_use",
        "agent.message",
        "agent.thinking",
        "agent.mcp_tool_use",
        "agent.mcp_tool_result",
        "agent.tool_use",
        "agent.tool_result",
        "agent.thread_message_received",
        "agent.thread_message_sent",
        "agent.thread_context_compacted",
        "session.error",
        "session.status_rescheduled",
        "session.status_running",
        "session.status_idle",
        "session.status_terminated",
        "session.thread_created",
        "session.thread_status_running",
        "session.thread_status_idle",
        "session.thread_status_terminated",
        "session.thread_status_rescheduled",
        "session.updated",
        "session.usage",
        "session.deleted",
        "span.outcome_evaluation_start",
        "span.outcome_evaluation_end",
        "span.outcome_evaluation_ongoing",
        "span.model_request_start",
        "span.model_request_end",
        "workflow_run.created",
        "workflow_run.status_running",
        "workflow_run.status_idle",
        "workflow_run.status_ended",
        "workflow_run.error",
        "workflow_run.phase_started",
        "workflow_run.phase_ended",
    }
)
"""What `types[]` may name (SDK `beta_managed_agents_session_event_type.py`, read 2026-11-23)."""


def routes(store: Store, inbox: Inbox, feed: Feed) -> list[BaseRoute]:
    """Every route of a session's events."""
    events = Events(store, feed)

    async def send(request: Request) -> Response:
        fields = await request.json("sessions.events.send")
        if isinstance(request.caller, Worker):
            _refuse_but_results(fields["events"])
        sent = await inbox.send(request.workspace_id, request.path["session_id"], fields["events"])
        return answer({"data": sent})

    return [
        route("POST", "/v1/sessions/{session_id}/events", send, worker="session"),
        route("GET", "/v1/sessions/{session_id}/events", events.page, worker="session"),
        route("GET", "/v1/sessions/{session_id}/events/stream", events.stream, worker="session"),
    ]


def _refuse_but_results(events: Sequence[Mapping[str, Any]]) -> None:
    """A worker answers calls; it neither speaks for the user nor says yes for him."""
    for index, event in enumerate(events):
        if event["type"] not in _OF_WORKERS:
            raise PermissionDenied(f"events.{index}.type: a worker sends {' and '.join(_OF_WORKERS)}, nothing else.")


class Events:
    """Lists and streams; a session and its primary thread show the same."""

    def __init__(self, store: Store, feed: Feed) -> None:
        self._store = store
        self._feed = feed

    async def page(self, request: Request) -> Response:
        """A page of the log, and behind it of what waits."""
        query = request.query
        session_id = request.path["session_id"]
        newest_first = query.one_of("order", ("asc", "desc"), "asc") == "desc"
        types = _types(query)
        processed = query.times("created_at")
        filters = {"session": session_id, "newest_first": newest_first, "types": types, "processed": processed}
        window = query.window("events", filters, default=MOST_LISTED, most=MOST_LISTED, position=(bool, int))

        async def op(connection: Connection) -> tuple[list[Event], bool]:
            await read_session(connection, request.workspace_id, session_id)

            async def read(limit: int, behind: Place | None) -> list[Event]:
                return await session_log.page(
                    connection,
                    session_id,
                    limit=limit,
                    behind=behind,
                    newest_first=newest_first,
                    types=types,
                    processed=_bounds(processed),
                )

            return await fitting(read, window.limit, None if window.after is None else Place(*window.after))

        kept, more = await self._store.look(op)
        next_page = window.cursor((kept[-1].place.waiting, kept[-1].place.number)) if more else None
        return answer(cursor_page([_shown(event) for event in kept], next_page))

    async def stream(self, request: Request) -> Response:
        """Everything from now on, as it happens."""
        kinds = frozenset(request.query.texts("event_deltas", most=_MOST_DELTAS))
        request.query.refuse_others()
        for kind in kinds:
            if kind not in PREVIEWED:
                raise InvalidRequest(f"event_deltas[]: must be of {', '.join(PREVIEWED)}, not {kind[:40]!r}.")
        frames = await self._feed.open(request.workspace_id, request.path["session_id"], kinds)
        return _streamed(frames)


async def fitting(
    read: Callable[[int, Place | None], Awaitable[list[Event]]], limit: int, behind: Place | None
) -> tuple[list[Event], bool]:
    """At most `limit` events, and no more than a page may hold; whether others may follow. `read` gives so many behind
    a place: few at first, then as many as are likely to fit."""
    found: list[Event] = []
    size, most = 0, _READ_FIRST
    while True:
        wanted = min(most, limit + 1 - len(found))
        some = await read(wanted, behind)
        found += some
        size += sum(len(event.body) for event in some)
        if len(found) > limit:
            return found[:limit], True
        if len(some) < wanted:
            return found, False
        if size >= MOST_PAGE_BYTES:
            return found, True
        behind = found[-1].place
        most = max(1, min(_READ_MORE * most, (MOST_PAGE_BYTES - size) * len(found) // max(1, size)))


def _streamed(frames: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(frames, headers=_STREAM_HEADERS, media_type="text/event-stream")


def _types(query: Query) -> list[str]:
    types = sorted(set(query.texts("types", most=2 * len(TYPES))))
    for name in types:
        if name not in TYPES:
            raise InvalidRequest(f"types[]: there are no events of type {name[:60]!r}.")
    return types


def _bounds(processed: Range) -> dict[Literal["gt", "gte", "lt", "lte"], int]:
    bounds: dict[Literal["gt", "gte", "lt", "lte"], int | None] = {
        "gt": processed.gt,
        "gte": processed.gte,
        "lt": processed.lt,
        "lte": processed.lte,
    }
    return {name: bound for name, bound in bounds.items() if bound is not None}


def _shown(event: Event) -> Any:
    return msgspec.Raw(event.body.encode())
