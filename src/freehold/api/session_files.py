"""`/freehold/v1/sessions/{id}/…`: fork, points, diff, archive. The files of a session over time; Claude's API has none.

POST fork     {"event_id": "sevt_…" | null, "title": "…" | null} → {"type": "session_fork", "id": "sesn_…", …}
GET  points   where it can be forked, oldest first
GET  diff     ?from=sevt_…&to=sevt_… (`to` left out: the files as they are now)
GET  archive  ?event_id=sevt_… (left out: now) → a `tar.zst`;  POST archive takes one in
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.agents.forks import Forks, Point
from freehold.api.base import Request, answer, pieces, route
from freehold.api.files import download
from freehold.api.scratch import Scratch, taken_in
from freehold.clock import rfc3339
from freehold.errors import InvalidRequest

MOST_ARCHIVE_BYTES = 1 << 30
MOST_TITLE_CHARS = 1000


def routes(forks: Forks, scratch: Scratch) -> list[BaseRoute]:
    """All of them."""
    files = _SessionFiles(forks, scratch)
    place = "/freehold/v1/sessions/{session_id}"
    return [
        route("POST", f"{place}/fork", files.fork),
        route("GET", f"{place}/points", files.points),
        route("GET", f"{place}/diff", files.diff),
        route("GET", f"{place}/archive", files.export),
        route("POST", f"{place}/archive", files.take_in),
    ]


class _SessionFiles:
    def __init__(self, forks: Forks, scratch: Scratch) -> None:
        self._forks = forks
        self._scratch = scratch

    async def fork(self, request: Request) -> Response:
        fields = await request.json()
        event_id, title = _text(fields, "event_id"), _text(fields, "title")
        if unknown := fields.keys() - {"event_id", "title"}:
            raise InvalidRequest(f"{min(unknown)}: Extra inputs are not permitted")
        session_id = request.path["session_id"]
        row = await self._forks.fork(request.caller, session_id, event_id, title)
        return answer({"type": "session_fork", "id": row.id, "source_session_id": session_id, "title": row.title})

    async def points(self, request: Request) -> Response:
        found = await self._forks.points(request.workspace_id, request.path["session_id"])
        return answer({"data": [_shown(point) for point in found]})

    async def diff(self, request: Request) -> Response:
        before, after = request.query.text("from"), request.query.text("to")
        request.query.refuse_others()
        found = await self._forks.diff(request.workspace_id, request.path["session_id"], before, after)
        return answer({"data": [asdict(change) for change in found]})

    async def export(self, request: Request) -> Response:
        session_id, event_id = request.path["session_id"], request.query.text("event_id")
        request.query.refuse_others()
        file = await self._forks.export(request.workspace_id, session_id, event_id)
        size = os.fstat(file.fileno()).st_size
        return download(pieces(file), size, "application/zstd", f"{session_id}.tar.zst")

    async def take_in(self, request: Request) -> Response:
        async with taken_in(request, self._scratch, MOST_ARCHIVE_BYTES) as file:
            session_id = request.path["session_id"]
            await self._forks.take_in(request.workspace_id, session_id, Path(f"/proc/self/fd/{file.fileno()}"))
        return answer({"type": "session_import", "id": session_id})


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and (not isinstance(value, str) or not 1 <= len(value) <= MOST_TITLE_CHARS):
        raise InvalidRequest(f"{name}: a text of 1 to {MOST_TITLE_CHARS} characters, or null")
    return value


def _shown(point: Point) -> dict[str, Any]:
    return {"event_id": point.event_id, "at": rfc3339(point.at_us), "has_files": point.snapshot is not None}
