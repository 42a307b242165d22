"""`…/collections/{collection}/documents`: uploaded, taken from files and addresses, listed, read, deleted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.api.multipart import Multipart, Part
from freehold.api.plain import fields_of
from freehold.clock import rfc3339
from freehold.errors import FreeholdError, InvalidRequest, TooLarge
from freehold.knowledge.collections import Collections
from freehold.knowledge.fetching import Fetching
from freehold.knowledge.ingest import Added, Given, Ingest
from freehold.store.knowledge import CollectionRow, DocumentRow

MOST_SOURCES = 100
"""Files and addresses of one request."""
_ENVELOPE_BYTES = 64 << 10
_MOST_NAME_BYTES = 2000

Source = tuple[str, Callable[[], Awaitable[Given]]]
"""What the client calls it, and how it is had."""


def routes(collections: Collections, ingest: Ingest, fetching: Fetching, path: str) -> list[BaseRoute]:
    """Every route of documents."""
    resource = _Documents(collections, ingest, fetching)
    return [
        route("POST", path, resource.upload),
        route("GET", path, resource.page),
        route("POST", path + "/fetch", resource.fetch),
        route("GET", path + "/{document_id}", resource.retrieve),
        route("DELETE", path + "/{document_id}", resource.delete),
    ]


class _Documents:
    def __init__(self, collections: Collections, ingest: Ingest, fetching: Fetching) -> None:
        self._collections = collections
        self._ingest = ingest
        self._fetching = fetching

    async def upload(self, request: Request) -> Response:
        collection = await self._collection(request)
        most = self._ingest.most_bytes
        parts = Multipart(request.body.content_type, request.chunks(most + _ENVELOPE_BYTES), most_parts=2)
        given = await _received(parts, most)
        return answer(_added(await self._ingest.add(collection, given)))

    async def fetch(self, request: Request) -> Response:
        collection = await self._collection(request)
        fields = fields_of(await request.json(), {"file_ids": list, "urls": list})
        ids, urls = fields.get("file_ids", []), fields.get("urls", [])
        if not all(isinstance(one, str) for one in (*ids, *urls)):
            raise InvalidRequest("file_ids, urls: must be lists of texts.")
        if not 1 <= len(ids) + len(urls) <= MOST_SOURCES:
            raise InvalidRequest(f"file_ids, urls: name 1 to {MOST_SOURCES} documents.")
        workspace_id = request.workspace_id
        files: list[Source] = [(one, lambda one=one: self._fetching.file(workspace_id, one)) for one in ids]  # type: ignore[misc]
        pages: list[Source] = [(one, lambda one=one: self._fetching.page(one)) for one in urls]  # type: ignore[misc]
        return StreamingResponse(_told(self._ingest, collection, [*files, *pages]), media_type="application/x-ndjson")

    async def page(self, request: Request) -> Response:
        collection, name = await self._collection(request), request.query.text("name")
        window = request.query.window("knowledge_documents", {"collection": collection.id, "name": name}, most=1000)
        rows = await self._collections.rows.documents(collection.id, name=name, after=window.after, limit=window.limit)
        return answer(window.page(rows, shown, lambda row: (row.created_us, row.id)))

    async def retrieve(self, request: Request) -> Response:
        key, document_id = request.path["collection"], request.path["document_id"]
        row = await self._collections.rows.document(request.workspace_id, key, document_id)
        bound = {"document": document_id}
        window = request.query.window("knowledge_passages", bound, default=100, most=1000, position=(int,))
        after = 0 if window.after is None else window.after[0]
        chunks = await self._collections.chunks.of_document(document_id, after=after, limit=window.limit + 1)
        page = window.page(chunks, _passage, lambda chunk: (chunk.number,))
        return answer({**shown(row), "passages": page["data"], "next_page": page["next_page"]})

    async def delete(self, request: Request) -> Response:
        document_id = request.path["document_id"]
        await self._collections.delete_document(request.workspace_id, request.path["collection"], document_id)
        return answer({"id": document_id, "type": "knowledge_document_deleted"})

    async def _collection(self, request: Request) -> CollectionRow:
        return await self._collections.rows.get(request.workspace_id, request.path["collection"])


def shown(row: DocumentRow) -> dict[str, Any]:
    """A document as the API shows it."""
    return {
        "id": row.id,
        "type": "knowledge_document",
        "name": row.name,
        "title": row.title,
        "media_type": row.media_type,
        "size_bytes": row.size_bytes,
        "sha256": row.sha256,
        "chunks": row.chunks,
        "created_at": rfc3339(row.created_us),
    }


def _added(added: Added) -> dict[str, Any]:
    return {**shown(added.document), "outcome": added.outcome}


def _passage(chunk: Any) -> dict[str, Any]:
    return {"heading": chunk.heading, "place": json.loads(chunk.place), "text": chunk.text}


async def _received(parts: Multipart, most: int) -> Given:
    """The part `file`, and its name: the part `name` if there is one, else the name of the file."""
    file, data, name = None, b"", None
    async for part in parts:
        if part.name == "file" and file is None:
            file, data = part, await _bytes(part, most)
        elif part.name == "name" and name is None:
            name = await part.text(_MOST_NAME_BYTES)
        else:
            raise InvalidRequest(f"{part.name[:80]}: stands there twice, or is no field of this route: file, name.")
    if file is None:
        raise InvalidRequest("file: the part with the document is missing.")
    return Given(name or file.filename or "", data, file.content_type or "")


async def _bytes(part: Part, most: int) -> bytes:
    pieces, size = [], 0
    async for piece in part.pieces():
        size += len(piece)
        if size > most:
            raise TooLarge(f"file: larger than the {most:,} bytes that a document may have (knowledge_document_bytes).")
        pieces.append(piece)
    return b"".join(pieces)


async def _told(ingest: Ingest, collection: CollectionRow, sources: Sequence[Source]) -> AsyncIterator[bytes]:
    """One line of JSON for each thing that happens. When the client leaves, the document at hand is given up."""
    lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    work = asyncio.ensure_future(_in_turn(ingest, collection, sources, lines.put))
    work.add_done_callback(lambda _: lines.put_nowait(None))
    try:
        while (line := await lines.get()) is not None:
            yield msgspec.json.encode(line) + b"\n"
        await work
    finally:
        work.cancel()
        await asyncio.wait([work])


async def _in_turn(
    ingest: Ingest,
    collection: CollectionRow,
    sources: Sequence[Source],
    tell: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    counts = {"added": 0, "replaced": 0, "unchanged": 0, "failed": 0}
    for source, fetch in sources:

        async def progress(done: int, chunks: int, source: str = source) -> None:
            await tell({"type": "progress", "source": source, "done": done, "chunks": chunks})

        try:
            added = await ingest.add(collection, await fetch(), progress)
        except FreeholdError as error:
            counts["failed"] += 1
            told = {"type": error.type, "message": error.message}
            await tell({"type": "document_failed", "source": source, "error": told})
            continue
        counts[added.outcome] += 1
        await tell({"type": "document", "source": source, "document": _added(added)})
    await tell({"type": "ended", **counts})
