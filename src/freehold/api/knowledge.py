"""`/freehold/v1/knowledge/collections`: collections made, shown, listed, searched, deleted."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api import knowledge_documents
from freehold.api.base import Request, answer, route
from freehold.api.plain import fields_of
from freehold.clock import rfc3339
from freehold.errors import InvalidRequest
from freehold.knowledge.collections import Collections, Summary
from freehold.knowledge.fetching import Fetching
from freehold.knowledge.ingest import Ingest
from freehold.knowledge.search import MODES, Passage, Search
from freehold.knowledge.toolbox import block

PATH = "/freehold/v1/knowledge/collections"
ONE = PATH + "/{collection}"
"""By its id or its name."""
_DEFAULT_RESULTS = 10


def routes(collections: Collections, ingest: Ingest, fetching: Fetching, search: Search) -> list[BaseRoute]:
    """Every route of knowledge."""
    resource = _Collections(collections, search)
    return [
        route("POST", PATH, resource.create),
        route("GET", PATH, resource.page),
        route("GET", ONE, resource.retrieve),
        route("DELETE", ONE, resource.delete),
        route("POST", "/freehold/v1/knowledge/search", resource.search),
        *knowledge_documents.routes(collections, ingest, fetching, ONE + "/documents"),
    ]


class _Collections:
    def __init__(self, collections: Collections, search: Search) -> None:
        self._collections = collections
        self._search = search

    async def create(self, request: Request) -> Response:
        known = {"name": str, "description": str, "embedding": str}
        fields = fields_of(await request.json(), known, required=("name",))
        made = await self._collections.create(
            request.workspace_id, fields["name"], fields.get("description", ""), fields.get("embedding")
        )
        return answer(shown(made))

    async def retrieve(self, request: Request) -> Response:
        return answer(shown(await self._collections.get(request.workspace_id, request.path["collection"])))

    async def delete(self, request: Request) -> Response:
        row = await self._collections.delete(request.workspace_id, request.path["collection"])
        return answer({"id": row.id, "type": "knowledge_collection_deleted"})

    async def page(self, request: Request) -> Response:
        window = request.query.window("knowledge_collections", {})
        rows = await self._collections.page(request.workspace_id, after=window.after, limit=window.limit)
        return answer(window.page(rows, shown, lambda one: (one.row.created_us, one.row.id)))

    async def search(self, request: Request) -> Response:
        known = {"query": str, "collections": list, "limit": int, "mode": str}
        fields = fields_of(await request.json(), known, required=("query",))
        names, mode = fields.get("collections"), fields.get("mode", "hybrid")
        if not all(isinstance(name, str) for name in names or ()):
            raise InvalidRequest("collections: must be a list of names.")
        if mode not in MODES:
            raise InvalidRequest(f"mode: must be one of {', '.join(MODES)}.")
        limit = fields.get("limit", _DEFAULT_RESULTS)
        found = await self._search.find(request.workspace_id, fields["query"], names, limit, mode)
        return answer({"data": [shown_passage(one) for one in found]})


def shown(summary: Summary) -> dict[str, Any]:
    """A collection as the API shows it."""
    row = summary.row
    return {
        "id": row.id,
        "type": "knowledge_collection",
        "name": row.name,
        "description": row.description,
        "embedding": row.embedding or None,
        "documents": summary.documents,
        "chunks": summary.chunks,
        "size_bytes": summary.size_bytes,
        "created_at": rfc3339(row.created_us),
        "updated_at": rfc3339(row.updated_us),
    }


def shown_passage(passage: Passage) -> dict[str, Any]:
    """A passage: for programs, and with it the block that Claude cites."""
    return {
        "type": "knowledge_passage",
        "collection": passage.collection,
        "document_id": passage.document_id,
        "name": passage.name,
        "heading": passage.heading,
        "place": passage.place,
        "score": passage.score,
        "text": passage.text,
        "search_result": block(passage),
    }
