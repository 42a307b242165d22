"""Memories in a memory store and their versions: create, retrieve, update, list, delete, redact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.access.keys import Worker
from freehold.api.base import Request, answer, route
from freehold.clock import rfc3339
from freehold.errors import InvalidRequest
from freehold.library.memories import Item, Memories
from freehold.store.memories import Actor, MemoryRow
from freehold.store.memory_versions import MemoryVersionRow, VersionFilter

VIEWS = ("basic", "full")
MOST_FULL = 20
"""Entries on a page that shows contents."""
_OPERATIONS = ("created", "modified", "deleted")


def routes(kept: Memories, store: str) -> list[BaseRoute]:
    """Every route of memories and versions below the path of one store."""
    memories, versions = _Memories(kept), _Versions(kept)
    memory, version = store + "/memories/{memory_id}", store + "/memory_versions/{memory_version_id}"
    return [
        route("POST", store + "/memories", memories.create, worker="memory"),
        route("GET", store + "/memories", memories.page, worker="memory"),
        route("GET", memory, memories.retrieve, worker="memory"),
        route("POST", memory, memories.update, worker="memory"),
        route("DELETE", memory, memories.delete, worker="memory"),
        route("GET", store + "/memory_versions", versions.page),
        route("GET", version, versions.retrieve),
        route("POST", version + "/redact", versions.redact),
    ]


class _Memories:
    def __init__(self, kept: Memories) -> None:
        self._kept = kept

    async def create(self, request: Request) -> Response:
        full = _full(request, "basic")
        fields = await request.json("memory_stores.memories.create")
        if fields.get("content") is None:
            raise InvalidRequest('content: must be text; send "" for an empty memory.')
        row = await self._kept.create(
            request.workspace_id, _store(request), fields["path"], fields["content"], _actor(request)
        )
        return answer(shown(row, full=full))

    async def retrieve(self, request: Request) -> Response:
        full = _full(request, "full")
        row = await self._kept.rows.get(request.workspace_id, _store(request), request.path["memory_id"])
        return answer(shown(row, full=full))

    async def update(self, request: Request) -> Response:
        full = _full(request, "basic")
        fields = await request.json("memory_stores.memories.update")
        row = await self._kept.update(
            request.workspace_id,
            _store(request),
            request.path["memory_id"],
            actor=_actor(request),
            path=fields.get("path"),
            content=fields.get("content"),
            expected_sha256=_expected(fields.get("precondition")),
        )
        return answer(shown(row, full=full))

    async def delete(self, request: Request) -> Response:
        expected = request.query.text("expected_content_sha256")
        request.query.refuse_others()
        memory_id = request.path["memory_id"]
        await self._kept.delete(
            request.workspace_id, _store(request), memory_id, actor=_actor(request), expected_sha256=expected
        )
        return answer({"id": memory_id, "type": "memory_deleted"})

    async def page(self, request: Request) -> Response:
        query = request.query
        full, prefix = _full(request, "basic"), query.text("path_prefix") or "/"
        depth = query.whole("depth", least=0, most=1) or 0
        window = query.window(
            "memories", {"store": _store(request), "prefix": prefix, "depth": depth, "full": full}, position=(str,)
        )
        limit = min(window.limit, MOST_FULL) if full else window.limit
        items = await self._kept.entries(
            request.workspace_id,
            _store(request),
            prefix=prefix,
            children_only=depth == 1,
            after=None if window.after is None else window.after[0],
            limit=limit,
            content=full,
        )
        return answer(window.page(items, lambda item: _item(item, full), lambda item: (item.path,), limit=limit))


class _Versions:
    def __init__(self, kept: Memories) -> None:
        self._kept = kept

    async def retrieve(self, request: Request) -> Response:
        full = _full(request, "full")
        version_id = request.path["memory_version_id"]
        row = await self._kept.versions.get(request.workspace_id, _store(request), version_id)
        return answer(shown_version(row, full=full))

    async def redact(self, request: Request) -> Response:
        await request.json()
        version_id = request.path["memory_version_id"]
        key_id = request.caller.key_id
        row = await self._kept.redact(request.workspace_id, _store(request), version_id, key_id=key_id)
        return answer(shown_version(row, full=True))

    async def page(self, request: Request) -> Response:
        full, wanted = _full(request, "basic"), _wanted(request)
        window = request.query.window("memory_versions", {"store": _store(request), "wanted": wanted, "full": full})
        limit = min(window.limit, MOST_FULL) if full else window.limit
        rows = await self._kept.versions.page(
            request.workspace_id, _store(request), wanted, content=full, after=window.after, limit=limit
        )
        return answer(
            window.page(
                rows,
                lambda row: shown_version(row, full=full),
                lambda row: (row.created_us, row.id),
                limit=limit,
            )
        )


def shown(row: MemoryRow, *, full: bool) -> dict[str, Any]:
    """A memory as the API shows it, with its content if `full`."""
    return {
        "id": row.id,
        "type": "memory",
        "memory_store_id": row.store_id,
        "memory_version_id": row.version_id,
        "path": row.path,
        "content": row.content.decode("utf-8") if full and row.content is not None else None,
        "content_sha256": row.content_sha256,
        "content_size_bytes": row.size_bytes,
        "created_at": rfc3339(row.created_us),
        "updated_at": rfc3339(row.updated_us),
    }


def shown_version(row: MemoryVersionRow, *, full: bool) -> dict[str, Any]:
    """A version as the API shows it, with its content if `full`."""
    redacted_by = None if row.redacted_by is None else _shown_actor("api_actor", row.redacted_by)
    return {
        "id": row.id,
        "type": "memory_version",
        "memory_id": row.memory_id,
        "memory_store_id": row.store_id,
        "operation": row.operation,
        "path": row.path,
        "content": row.content.decode("utf-8") if full and row.content is not None else None,
        "content_sha256": row.content_sha256,
        "content_size_bytes": row.size_bytes,
        "created_at": rfc3339(row.created_us),
        "created_by": _shown_actor(row.actor_type, row.actor_id),
        "redacted_at": None if row.redacted_us is None else rfc3339(row.redacted_us),
        "redacted_by": redacted_by,
    }


def _item(item: Item, full: bool) -> dict[str, Any]:
    return {"type": "memory_prefix", "path": item.path} if item.memory is None else shown(item.memory, full=full)


def _shown_actor(kind: str, actor_id: str) -> dict[str, str]:
    return {"type": kind, {"api_actor": "api_key_id", "session_actor": "session_id"}[kind]: actor_id}


def _store(request: Request) -> str:
    return request.path["memory_store_id"]


def _actor(request: Request) -> Actor:
    caller = request.caller
    if isinstance(caller, Worker) and caller.session_id is not None:
        return Actor("session_actor", caller.session_id)
    return Actor("api_actor", caller.key_id)


def _full(request: Request, default: str) -> bool:
    return request.query.one_of("view", VIEWS, default) == "full"


def _expected(precondition: Mapping[str, Any] | None) -> str | None:
    if precondition is None:
        return None
    expected: str | None = precondition.get("content_sha256")
    if expected is None:
        raise InvalidRequest("precondition.content_sha256: is required.")
    return expected


def _wanted(request: Request) -> VersionFilter:
    query = request.query
    made = query.times("created_at", ("gte", "lte"))
    actors = [
        (kind, value)
        for name, kind in (("session_id", "session_actor"), ("api_key_id", "api_actor"), ("service_account_id", "none"))
        if (value := query.text(name)) is not None
    ]
    if len(actors) > 1:
        actors = [("none", "")]  # a version has one author: nobody is two of them
    return VersionFilter(
        memory_id=query.text("memory_id"),
        operation=query.one_of("operation", _OPERATIONS, "") or None,
        actor=actors[0] if actors else None,
        created_gte_us=made.gte,
        created_lte_us=made.lte,
    )
