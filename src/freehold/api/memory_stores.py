"""`/v1/memory_stores`, the stores themselves: create, retrieve, update, list, archive, delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api import memories
from freehold.api.base import Request, answer, route
from freehold.api.metadata import merged_metadata, new_metadata
from freehold.clock import rfc3339
from freehold.library.memories import Memories
from freehold.store.memory_stores import MemoryStoreRow

PATH = "/v1/memory_stores"
ONE = PATH + "/{memory_store_id}"


def routes(kept: Memories) -> list[BaseRoute]:
    """Every route of memory stores, their memories and the versions of these."""
    stores = _Stores(kept)
    return [
        route("POST", PATH, stores.create),
        route("GET", PATH, stores.page),
        route("GET", ONE, stores.retrieve, worker="memory"),
        route("POST", ONE, stores.update),
        route("DELETE", ONE, stores.delete),
        route("POST", ONE + "/archive", stores.archive),
        *memories.routes(kept, ONE),
    ]


class _Stores:
    def __init__(self, kept: Memories) -> None:
        self._kept = kept

    async def create(self, request: Request) -> Response:
        fields = await request.json("memory_stores.create")
        metadata = new_metadata(fields.get("metadata"))
        row = await self._kept.create_store(
            request.workspace_id, fields["name"], fields.get("description") or "", metadata
        )
        return answer(shown(row))

    async def retrieve(self, request: Request) -> Response:
        return answer(shown(await self._kept.stores.get(request.workspace_id, request.path["memory_store_id"])))

    async def update(self, request: Request) -> Response:
        fields = await request.json("memory_stores.update")
        row = await self._kept.update_store(
            request.workspace_id, request.path["memory_store_id"], lambda row: _changed(row, fields)
        )
        return answer(shown(row))

    async def archive(self, request: Request) -> Response:
        await request.json()
        return answer(shown(await self._kept.archive_store(request.workspace_id, request.path["memory_store_id"])))

    async def delete(self, request: Request) -> Response:
        store_id = request.path["memory_store_id"]
        await self._kept.stores.delete(request.workspace_id, store_id)
        return answer({"id": store_id, "type": "memory_store_deleted"})

    async def page(self, request: Request) -> Response:
        query = request.query
        made, archived = query.times("created_at", ("gte", "lte")), query.boolean("include_archived")
        window = query.window("memory_stores", {"made": made, "archived": archived})
        rows = await self._kept.stores.page(
            request.workspace_id,
            created_gte_us=made.gte,
            created_lte_us=made.lte,
            include_archived=archived,
            after=window.after,
            limit=window.limit,
        )
        return answer(window.page(rows, shown, lambda row: (row.created_us, row.id)))


def shown(row: MemoryStoreRow) -> dict[str, Any]:
    """A memory store as the API shows it."""
    return {
        "id": row.id,
        "type": "memory_store",
        "name": row.name,
        "description": row.description,
        "metadata": row.metadata,
        "created_at": rfc3339(row.created_us),
        "updated_at": rfc3339(row.updated_us),
        "archived_at": None if row.archived_us is None else rfc3339(row.archived_us),
    }


def _changed(row: MemoryStoreRow, fields: Mapping[str, Any]) -> MemoryStoreRow:
    name, description = fields.get("name"), fields.get("description", row.description)
    return replace(
        row,
        name=row.name if name is None else name,
        description=description or "",
        metadata=merged_metadata(row.metadata, fields.get("metadata")),
    )
