"""`/v1/sessions/{id}/threads`: the primary thread of a session, its events and its stream.

There is one thread in every session until agents can lead other agents; what it is, the session says.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.agents.feed import Feed
from freehold.agents.sessions import Sessions
from freehold.agents.usage import shown as shown_usage
from freehold.api.base import Request, answer, route
from freehold.api.events import Events
from freehold.api.sessions import STATUSES
from freehold.clock import Clock, rfc3339
from freehold.errors import InvalidRequest, NotFound
from freehold.store.engine import Store
from freehold.store.sessions import SessionRow

MOST_THREADS = 1000
_OF_THREAD = (
    "id",
    "type",
    "version",
    "name",
    "description",
    "system",
    "model",
    "tools",
    "mcp_servers",
    "skills",
    "execution_identity",
)


def routes(sessions: Sessions, store: Store, feed: Feed, *, clock: Clock) -> list[BaseRoute]:
    """Every route of threads."""
    threads = _Threads(sessions, Events(store, feed), clock)
    one = "/v1/sessions/{session_id}/threads/{thread_id}"
    return [
        route("GET", "/v1/sessions/{session_id}/threads", threads.page),
        route("GET", one, threads.retrieve),
        route("POST", f"{one}/archive", threads.archive),
        route("GET", f"{one}/events", threads.events),
        route("GET", f"{one}/stream", threads.stream),
    ]


class _Threads:
    def __init__(self, sessions: Sessions, events: Events, clock: Clock) -> None:
        self._sessions = sessions
        self._events = events
        self._clock = clock

    async def page(self, request: Request) -> Response:
        statuses = request.query.texts("statuses", most=len(STATUSES))
        for status in statuses:
            if status not in STATUSES:
                raise InvalidRequest(f"statuses[]: must be of {', '.join(STATUSES)}, not {status[:40]!r}.")
        session_id = request.path["session_id"]
        filters = {"session": session_id, "statuses": sorted(statuses)}
        window = request.query.window("threads", filters, default=MOST_THREADS, most=MOST_THREADS)
        row = await self._sessions.rows.get(request.workspace_id, session_id)
        fits = (not statuses or row.status in statuses) and window.after is None
        return answer(window.page([row] if fits else [], self._shown, lambda row: (row.created_us, row.thread_id)))

    async def retrieve(self, request: Request) -> Response:
        return answer(self._shown(await self._row(request)))

    async def archive(self, request: Request) -> Response:
        await request.json()
        row = await self._row(request)
        raise InvalidRequest(
            f"{row.thread_id} is the primary thread of {row.id}, which goes with its session. Archive the session."
        )

    async def events(self, request: Request) -> Response:
        await self._row(request)
        return await self._events.page(request)

    async def stream(self, request: Request) -> Response:
        await self._row(request)
        return await self._events.stream(request)

    async def _row(self, request: Request) -> SessionRow:
        row = await self._sessions.rows.get(request.workspace_id, request.path["session_id"])
        if request.path["thread_id"] != row.thread_id:
            raise NotFound(f"The session {row.id} has no thread {request.path['thread_id']!r}.")
        return row

    def _shown(self, row: SessionRow) -> dict[str, Any]:
        usage = shown_usage(row.usage) if row.usage else None
        ended_us = self._clock.now_us() if row.archived_us is None else row.archived_us
        stats = {
            "active_seconds": usage["active_seconds"] if usage else 0.0,
            "duration_seconds": max(0, ended_us - row.created_us) / 1_000_000,
            "startup_seconds": None,
        }
        return {
            "id": row.thread_id,
            "type": "session_thread",
            "session_id": row.id,
            "agent": {key: row.agent[key] for key in _OF_THREAD},
            "parent_thread_id": None,
            "workflow_run_id": None,
            "status": row.status,
            "usage": usage,
            "stats": stats if row.last_seq else None,
            "created_at": rfc3339(row.created_us),
            "updated_at": rfc3339(row.updated_us),
            "archived_at": None if row.archived_us is None else rfc3339(row.archived_us),
        }
