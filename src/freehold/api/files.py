"""`/v1/files`: upload, metadata, list, download, delete; with the old list shape for old clients."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.api.multipart import Multipart, Part
from freehold.clock import rfc3339
from freehold.errors import InvalidRequest
from freehold.library.files import FILE_LIMIT_BYTES, Files, Upload
from freehold.store.files import FileRow
from freehold.wire.pages import cursor_page, id_page

LEGACY_BETA = "files-api-2025-04-14"
"""Clients that send it expect `has_more`, `first_id`, `last_id`."""
MOST_IDS = 100
_ENVELOPE_BYTES = 64 << 10
"""What boundaries and headers of the parts may add to the file."""
_FIELDS = ("file", "expires_in_seconds")


def routes(files: Files) -> list[BaseRoute]:
    """Every route of files."""
    resource = _Files(files)
    return [
        route("POST", "/v1/files", resource.upload),
        route("GET", "/v1/files", resource.page),
        route("GET", "/v1/files/{file_id}", resource.retrieve),
        route("DELETE", "/v1/files/{file_id}", resource.delete),
        route("GET", "/v1/files/{file_id}/content", resource.download),
    ]


class _Files:
    def __init__(self, files: Files) -> None:
        self._files = files

    async def upload(self, request: Request) -> Response:
        chunks = request.chunks(FILE_LIMIT_BYTES + _ENVELOPE_BYTES)
        parts = Multipart(request.body.content_type, chunks, most_parts=len(_FIELDS))
        async with self._files.uploading(request.workspace_id) as upload:
            file, expires_in_s = await _receive(parts, upload)
            row = await self._files.create(upload, file.filename, file.content_type, expires_in_s=expires_in_s)
        return answer(shown(row))

    async def retrieve(self, request: Request) -> Response:
        return answer(shown(await self._files.rows.get(request.workspace_id, request.path["file_id"])))

    async def delete(self, request: Request) -> Response:
        file_id = request.path["file_id"]
        await self._files.delete(request.workspace_id, file_id)
        return answer({"id": file_id, "type": "file_deleted"})

    async def download(self, request: Request) -> Response:
        row, chunks = await self._files.download(request.workspace_id, request.path["file_id"])
        return download(chunks, row.size_bytes, row.mime_type, row.filename)

    async def page(self, request: Request) -> Response:
        if LEGACY_BETA in request.betas:
            return await self._legacy_list(request)
        query = request.query
        scope_id = query.text("scope_id")
        ids = query.texts("ids", most=2 * MOST_IDS)
        if ids:
            return await self._some(request, ids, scope_id)
        window = query.window("files", {"scope_id": scope_id}, most=1000)
        rows = await self._files.rows.page(
            request.workspace_id, scope_id=scope_id, after=window.after, limit=window.limit
        )
        return answer(window.page(rows, shown, lambda row: (row.created_us, row.id)))

    async def _some(self, request: Request, ids: list[str], scope_id: str | None) -> Response:
        wanted = set(ids)
        if request.query.text("limit") is not None or request.query.text("page") is not None:
            raise InvalidRequest("ids[]: cannot be combined with limit or page.")
        if len(wanted) > MOST_IDS:
            raise InvalidRequest(f"ids[]: {len(wanted)} ids, at most {MOST_IDS} are taken.")
        request.query.refuse_others()
        rows = await self._files.rows.some(request.workspace_id, wanted)
        return answer(cursor_page([shown(row) for row in rows if scope_id in (None, row.scope_id)], None))

    async def _legacy_list(self, request: Request) -> Response:
        query = request.query
        scope_id = query.text("scope_id")
        limit = query.whole("limit", least=1, most=1000) or 20
        before, after = query.text("before_id"), query.text("after_id")
        query.refuse_others()
        if before and after:
            raise InvalidRequest("before_id: cannot be combined with after_id.")
        at = await self._files.rows.get(request.workspace_id, before or after or "") if before or after else None
        rows = await self._files.rows.page(
            request.workspace_id,
            scope_id=scope_id,
            after=None if at is None else (at.created_us, at.id),
            limit=limit,
            newest_first=not before,
        )
        kept = rows[:limit]
        return answer(id_page([shown(row) for row in (reversed(kept) if before else kept)], len(rows) > limit))


def shown(row: FileRow) -> dict[str, Any]:
    """A file as the API shows it."""
    return {
        "id": row.id,
        "type": "file",
        "filename": row.filename,
        "mime_type": row.mime_type,
        "size_bytes": row.size_bytes,
        "created_at": rfc3339(row.created_us),
        "downloadable": row.downloadable,
        "expires_at": None if row.expires_us is None else rfc3339(row.expires_us),
        "scope": None if row.scope_id is None else {"type": "session", "id": row.scope_id},
    }


def download(chunks: AsyncIterator[bytes], size_bytes: int, mime_type: str, filename: str) -> Response:
    """Bytes as an attachment: a browser saves it and never runs it."""
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", filename)
    headers = {
        "content-length": str(size_bytes),
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}",
        "x-content-type-options": "nosniff",
    }
    return StreamingResponse(chunks, headers=headers, media_type=mime_type)


async def _receive(parts: Multipart, upload: Upload) -> tuple[Part, int | None]:
    file: Part | None = None
    expires_in_s: int | None = None
    async for part in parts:
        if part.name == "file" and file is None:
            file = part
            async for piece in part.pieces():
                await upload.write(piece)
        elif part.name == "expires_in_seconds" and expires_in_s is None:
            expires_in_s = _seconds(await part.text())
        else:
            raise InvalidRequest(
                f"{part.name[:80]}: stands there twice, or is no field of this route: {', '.join(_FIELDS)}."
            )
    if file is None:
        raise InvalidRequest("file: the part with the file is missing.")
    return file, expires_in_s


def _seconds(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text.strip()):
        raise InvalidRequest(f"expires_in_seconds: must be a whole number, not {text[:40]!r}.")
    return int(text)
