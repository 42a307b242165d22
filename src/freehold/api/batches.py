"""`/v1/messages/batches`: create, retrieve, list, cancel, delete, results; `/freehold/v1/batches`: progress, resume.

The counts stay in `processing` until a batch has ended, as Claude's do; how far it is stands in the progress.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.batches.intake import BODY_LIMIT_BYTES
from freehold.batches.keeper import KEPT_US
from freehold.batches.lifecycle import Batches
from freehold.clock import rfc3339
from freehold.errors import InvalidRequest, NotBuilt
from freehold.store.batches import BatchRow
from freehold.wire.headers import OURS
from freehold.wire.pages import id_page

PATH = "/v1/messages/batches"
_ONE = f"{PATH}/{{message_batch_id}}"
_OURS = "/freehold/v1/batches/{message_batch_id}"
_NOT_BUILT = {
    "x-freehold-fault": "faults are for single calls to the simulator",
}


def routes(batches: Batches) -> list[BaseRoute]:
    """Every route of message batches."""
    resource = _Batches(batches)
    return [
        route("POST", PATH, resource.create),
        route("GET", PATH, resource.page),
        route("GET", _ONE, resource.retrieve),
        route("DELETE", _ONE, resource.delete),
        route("POST", f"{_ONE}/cancel", resource.cancel),
        route("GET", f"{_ONE}/results", resource.results),
        route("GET", f"{_OURS}/progress", resource.progress),
        route("POST", f"{_OURS}/resume", resource.resume),
    ]


class _Batches:
    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    async def create(self, request: Request) -> Response:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        _check_own(headers)
        row = await self._batches.create(request.chunks(BODY_LIMIT_BYTES), request.caller, headers)
        return answer(self._shown(row, request))

    async def retrieve(self, request: Request) -> Response:
        return answer(self._shown(await self._find(request), request))

    async def cancel(self, request: Request) -> Response:
        row = await self._batches.cancel(request.workspace_id, request.path["message_batch_id"])
        return answer(self._shown(row, request))

    async def delete(self, request: Request) -> Response:
        batch_id = request.path["message_batch_id"]
        await self._batches.rows.delete(request.workspace_id, batch_id)
        return answer({"id": batch_id, "type": "message_batch_deleted"})

    async def results(self, request: Request) -> Response:
        pieces = await self._batches.results(request.workspace_id, request.path["message_batch_id"])
        return StreamingResponse(pieces, media_type="application/x-jsonl")

    async def page(self, request: Request) -> Response:
        query = request.query
        limit = query.whole("limit", least=1, most=1000) or 20
        before, after = query.text("before_id"), query.text("after_id")
        query.refuse_others()
        if before and after:
            raise InvalidRequest("before_id: cannot be combined with after_id.")
        rows = self._batches.rows
        at = await rows.get(request.workspace_id, before or after or "") if before or after else None
        found = await rows.page(
            request.workspace_id,
            after=None if at is None else (at.created_us, at.id),
            limit=limit,
            newest_first=not before,
        )
        kept = found[:limit]
        shown = [self._shown(row, request) for row in (reversed(kept) if before else kept)]
        return answer(id_page(shown, len(found) > limit))

    async def progress(self, request: Request) -> Response:
        row = await self._find(request)
        return answer(progress(row, await self._batches.rows.leased(row.id)))

    async def resume(self, request: Request) -> Response:
        row = await self._batches.rows.resume(request.workspace_id, request.path["message_batch_id"])
        return answer(progress(row, await self._batches.rows.leased(row.id)))

    async def _find(self, request: Request) -> BatchRow:
        return await self._batches.rows.get(request.workspace_id, request.path["message_batch_id"])

    def _shown(self, row: BatchRow, request: Request) -> dict[str, Any]:
        ended, archived = row.status == "ended", self._batches.archived(row)
        return {
            "id": row.id,
            "type": "message_batch",
            "processing_status": row.status,
            "request_counts": _counts(row, ended),
            "created_at": rfc3339(row.created_us),
            "expires_at": rfc3339(row.expires_us),
            "ended_at": _time(row.ended_us),
            "cancel_initiated_at": _time(row.cancel_us),
            "archived_at": rfc3339(row.created_us + KEPT_US) if archived else None,
            "results_url": f"{_origin(request)}{PATH}/{row.id}/results" if ended and not archived else None,
        }


def progress(row: BatchRow, running: int) -> dict[str, Any]:
    """How far a batch is, now."""
    return {
        "type": "batch_progress",
        "id": row.id,
        "processing_status": row.status,
        "engine": row.engine,
        "paused": row.paused_why,
        "total": row.total,
        "waiting": max(0, row.total - row.finished - running),
        "running": running,
        "succeeded": row.succeeded,
        "errored": row.errored,
        "canceled": row.canceled,
        "expired": row.expired,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cache_read_tokens": row.cache_read_tokens,
        "cost_nanodollars": row.cost_nanodollars,
        "cache_saved_nanodollars": row.cache_saved_nanodollars,
        "unpriced": row.unpriced,
        "created_at": rfc3339(row.created_us),
        "expires_at": rfc3339(row.expires_us),
        "ended_at": _time(row.ended_us),
    }


def _counts(row: BatchRow, ended: bool) -> dict[str, int]:
    if not ended:
        return {"processing": row.total, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    return {
        "processing": 0,
        "succeeded": row.succeeded,
        "errored": row.errored,
        "canceled": row.canceled,
        "expired": row.expired,
    }


def _time(us: int | None) -> str | None:
    return None if us is None else rfc3339(us)


def _origin(request: Request) -> str:
    """Where the client found us: the results are on our host, whoever worked on them."""
    scheme = request.header("x-forwarded-proto")
    return f"{'https' if scheme == 'https' else 'http'}://{request.header('host') or 'localhost'}"


def _check_own(headers: dict[str, str]) -> None:
    for name in headers:
        if name in _NOT_BUILT:
            raise NotBuilt(f"{name}: {_NOT_BUILT[name]}; leave the header out.")
        if name.startswith("x-freehold-") and name.encode() not in OURS:
            raise InvalidRequest(f"{name[:80]}: there is no such header of Freehold.")
