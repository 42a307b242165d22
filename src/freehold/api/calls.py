"""`/freehold/v1/calls`: the record of calls, listed and searched, one call whole, and all of one user forgotten.

A member sees the calls of its own key, an admin those of its workspace.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.clock import rfc3339
from freehold.errors import InvalidRequest, NotFound
from freehold.store.call_log import EQUAL, Logged, Wanted, call_of, calls_page
from freehold.store.engine import Store
from freehold.store.recordings import RecordingRows

PATH = "/freehold/v1/calls"
_HIDDEN = ("workspace_id", "started_us")


def routes(
    store: Store, recordings: RecordingRows, flush: Callable[[], Awaitable[None]], unpack: Callable[[bytes], bytes]
) -> list[BaseRoute]:
    """Every route of calls. `flush` returns when what was recorded so far is written; `unpack` reads a recording."""

    async def page(request: Request) -> Response:
        await store.flush()
        await flush()
        wanted = _wanted(request)
        filters = {
            **msgspec.to_builtins(wanted.equal),
            "w": [wanted.model, wanted.status, wanted.failed, wanted.recorded],
        }
        window = request.query.window(
            "calls", {**filters, "from": wanted.from_us, "to": wanted.before_us, "ended": wanted.ended_us}
        )
        async with store.read() as connection:
            rows = await calls_page(connection, wanted, after=window.after, limit=window.limit)
        return answer(window.page(rows, shown, lambda one: (one.row.started_us, one.row.id)))

    async def retrieve(request: Request) -> Response:
        await store.flush()
        await flush()
        call_id = request.path["call_id"]
        async with store.read() as connection:
            found = await call_of(connection, request.workspace_id, call_id)
        if found is None or (request.caller.role != "admin" and found.row.key_id != request.caller.key_id):
            raise NotFound(f"There is no call {call_id[:80]}.")
        content = await recordings.get(call_id)
        recording = None if content is None else msgspec.Raw(unpack(content))
        return answer({**shown(found), "recording": recording})

    async def forget(request: Request) -> Response:
        user_id = request.query.text("user_id", most=256)
        request.query.refuse_others()
        if not user_id:
            raise InvalidRequest("user_id: say whose calls are to be forgotten.")
        await store.flush()
        await flush()
        deleted, unnamed = await recordings.forget_user(request.workspace_id, user_id)
        told = {"type": "calls_forgotten", "user_id": user_id, "recordings_deleted": deleted, "calls_unnamed": unnamed}
        return answer(told)

    return [
        route("GET", PATH, page),
        route("GET", PATH + "/{call_id}", retrieve),
        route("DELETE", PATH, forget, door="admin"),
    ]


def shown(logged: Logged) -> dict[str, Any]:
    """A call as JSON: its row, by the names of its columns."""
    row = logged.row._asdict()
    kept = {name: value for name, value in row.items() if name not in _HIDDEN}
    return {"type": "call", **kept, "started_at": rfc3339(logged.row.started_us), "recorded": logged.recorded}


def _wanted(request: Request) -> Wanted:
    query = request.query
    given = {name: query.text(name) for name in EQUAL}
    equal = {name: value for name, value in given.items() if value is not None}
    if request.caller.role != "admin":
        if equal.get("key_id", request.caller.key_id) != request.caller.key_id:
            raise InvalidRequest("key_id: a member sees the calls of its own key only.")
        equal["key_id"] = request.caller.key_id
    within = query.times("started_at", ("gte", "lt"))
    return Wanted(
        request.workspace_id,
        equal,
        query.text("model"),
        query.whole("status", least=100, most=599),
        _flag(query.one_of("failed", ("true", "false", ""), "")),
        _flag(query.one_of("recorded", ("true", "false", ""), "")),
        within.gte,
        within.lt,
        query.times("ended_at", ("gte",)).gte,
    )


def _flag(text: str) -> bool | None:
    return None if not text else text == "true"
