"""`/v1/environments/{id}/work`: the queue that workers of a self-hosted environment take sessions from.

poll, ack and list take the environment's key; heartbeat and stop also the token of the item; the rest an API key.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.access.keys import Worker
from freehold.api.base import Request, answer, route
from freehold.api.metadata import merged_metadata
from freehold.clock import rfc3339
from freehold.errors import InvalidRequest
from freehold.jobs.work_queue import LONGEST_LEASE_S, RECLAIM_MS, Beaten, Heartbeat, Place, WorkQueue
from freehold.store import work
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.environments import read_environment
from freehold.store.work import WorkRow

LONGEST_BLOCK_MS = 999
_LONGEST_RECLAIM_MS = 86_400_000
_LONGEST_WORKER_ID = 255
_LONGEST_EXPECTED = 64


def routes(store: Store, queue: WorkQueue) -> list[BaseRoute]:
    """Every route of the work queue."""
    own = _Work(store, queue)
    every = "/v1/environments/{environment_id}/work"
    one = every + "/{work_id}"
    return [
        route("GET", f"{every}/poll", own.poll, door="worker", worker="queue"),
        route("GET", f"{every}/stats", own.stats),
        route("GET", every, own.page, worker="queue"),
        route("GET", one, own.retrieve),
        route("POST", one, own.update),
        route("POST", f"{one}/ack", own.ack, door="worker", worker="queue"),
        route("POST", f"{one}/heartbeat", own.heartbeat, door="worker", worker="item"),
        route("POST", f"{one}/stop", own.stop, worker="item"),
    ]


class _Work:
    def __init__(self, store: Store, queue: WorkQueue) -> None:
        self._store = store
        self._queue = queue

    async def poll(self, request: Request) -> Response:
        block_ms = request.query.whole("block_ms", least=1, most=LONGEST_BLOCK_MS)
        reclaim_ms = request.query.whole("reclaim_older_than_ms", least=0, most=_LONGEST_RECLAIM_MS)
        worker_id = request.header("anthropic-worker-id")
        if worker_id is not None and not 1 <= len(worker_id) <= _LONGEST_WORKER_ID:
            raise InvalidRequest(f"anthropic-worker-id: must have 1 to {_LONGEST_WORKER_ID} characters.")
        found = await self._queue.poll(
            _place(request),
            block_ms=block_ms,
            reclaim_ms=RECLAIM_MS if reclaim_ms is None else reclaim_ms,
            worker_id=worker_id,
        )
        return answer(None if found is None else shown(found[0], secret=_secret(found[1])))

    async def ack(self, request: Request) -> Response:
        await request.json()
        return answer(shown(await self._queue.ack(_place(request), request.path["work_id"])))

    async def heartbeat(self, request: Request) -> Response:
        await request.json()
        expected = request.query.text("expected_last_heartbeat", most=_LONGEST_EXPECTED)
        ttl_s = request.query.whole("desired_ttl_seconds", least=1, most=LONGEST_LEASE_S)
        beat = Heartbeat(expected, ttl_s, _is_void(request))
        return answer(_beaten(await self._queue.heartbeat(_place(request), request.path["work_id"], beat)))

    async def stop(self, request: Request) -> Response:
        fields = await request.json("environments.work.stop")
        force, void = bool(fields.get("force")), _is_void(request)
        item = await self._queue.stop(_place(request), request.path["work_id"], force=force, void=void)
        return answer(shown(item))

    async def retrieve(self, request: Request) -> Response:
        place = _place(request)
        item = await self._store.look(
            lambda connection: work.read(connection, place.workspace_id, place.environment_id, request.path["work_id"])
        )
        return answer(shown(item))

    async def update(self, request: Request) -> Response:
        fields = await request.json("environments.work.update")
        item = await self._queue.update(
            _place(request), request.path["work_id"], lambda now: merged_metadata(now, fields["metadata"])
        )
        return answer(shown(item))

    async def page(self, request: Request) -> Response:
        place = _place(request)
        window = request.query.window("work", {"environment": place.environment_id})

        async def op(connection: Connection) -> list[WorkRow]:
            await read_environment(connection, place.workspace_id, place.environment_id)
            return await work.page(connection, place.environment_id, after=window.after, limit=window.limit)

        return answer(window.page(await self._store.look(op), shown, lambda row: (row.created_us, row.id)))

    async def stats(self, request: Request) -> Response:
        place = _place(request)

        async def op(connection: Connection) -> dict[str, Any]:
            await read_environment(connection, place.workspace_id, place.environment_id)
            counts = await work.counts(connection, place.environment_id)
            return {
                "type": "work_queue_stats",
                "depth": counts.waiting,
                "pending": counts.pending,
                "oldest_queued_at": _time(counts.oldest_us),
                "workers_polling": await self._queue.pollers.count(connection, place.environment_id),
            }

        return answer(await self._store.look(op))


def shown(item: WorkRow, *, secret: str | None = None) -> dict[str, Any]:
    """An item as the API shows it."""
    return {
        "id": item.id,
        "type": "work",
        "environment_id": item.environment_id,
        "data": {"type": "session", "id": item.session_id},
        "state": item.state,
        "metadata": item.metadata,
        "secret": secret,
        "created_at": rfc3339(item.created_us),
        "acknowledged_at": _time(item.acknowledged_us),
        "started_at": _time(item.started_us),
        "latest_heartbeat_at": _time(item.heartbeat_us),
        "stop_requested_at": _time(item.stop_requested_us),
        "stopped_at": _time(item.stopped_us),
    }


def _beaten(beaten: Beaten) -> dict[str, Any]:
    return {
        "type": "work_heartbeat",
        "last_heartbeat": _time(beaten.item.heartbeat_us) or "",
        "lease_extended": beaten.extended,
        "state": beaten.item.state,
        "ttl_seconds": beaten.ttl_s,
    }


def _time(us: int | None) -> str | None:
    return None if us is None else rfc3339(us)


def _place(request: Request) -> Place:
    return Place(request.workspace_id, request.path["environment_id"])


def _is_void(request: Request) -> bool:
    return isinstance(request.caller, Worker) and request.caller.void


def _secret(token: str) -> str:
    """What the SDKs' workers read: JSON in URL-safe base64 (SDK `lib/environments/_worker.py`)."""
    return base64.urlsafe_b64encode(msgspec.json.encode({"sessions_token": token})).decode()
