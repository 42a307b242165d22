"""Files that a message refers to by id, put into it as they are: for upstreams that have no Files API.

An image or document block with `{"type": "file", "file_id": …}` as its source gets the file's bytes as base64, a text
file its text. All that is not such a block stays as it was. Knows no HTTP and no calls.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from freehold.errors import InvalidRequest, TooLarge
from freehold.library.files import Files
from freehold.store.files import FileRow

LIMIT_BYTES = 32 * 1024 * 1024
"""Of all files of one request together: what a Messages request may have."""
IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
PDF = "application/pdf"
_DEPTH = 8
"""Objects in objects; a message, a tool result, a document with content of its own, its image are five."""
Reference = tuple[str, str]
"""The type of a block, and the id of the file it refers to."""


class MessageFiles:
    """Puts files into messages."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def inlined(self, workspace_id: str, messages: Sequence[Any]) -> list[Any]:
        """The messages with every file of the workspace in place of its id; those given are not changed.

        Costs a walk over the messages, and for each file a row and a read. Call it only when `file_id` occurs.

        Raises:
            NotFound: there is no such file, or its bytes have expired.
            InvalidRequest: a file that is neither image, PDF nor text, or an image where a document is needed.
            TooLarge: more than 32 MB of files in all.
        """
        wanted: set[Reference] = set()

        def note(reference: Reference) -> dict[str, Any]:
            wanted.add(reference)
            return {}

        _walked(list(messages), note)
        sources = await self._read(workspace_id, wanted)
        inlined: list[Any] = _walked(list(messages), sources.__getitem__)
        return inlined

    async def _read(self, workspace_id: str, wanted: set[Reference]) -> dict[Reference, dict[str, Any]]:
        sources: dict[Reference, dict[str, Any]] = {}
        left = LIMIT_BYTES
        for reference in sorted(wanted):
            block_type, file_id = reference
            row, path = await self._files.open(workspace_id, file_id)
            left -= row.size_bytes
            if left < 0:
                raise TooLarge(f"messages: the files in them are together larger than {LIMIT_BYTES:,} bytes.")
            sources[reference] = await asyncio.to_thread(_source, row, path, block_type)
        return sources


def _walked(value: Any, put: Callable[[Reference], dict[str, Any]], depth: int = _DEPTH) -> Any:
    """`value` with the source of each block that refers to a file taken from `put`."""
    if isinstance(value, list):
        return [_walked(one, put, depth) for one in value]
    if not isinstance(value, dict) or depth == 0:
        return value
    reference = _reference(value)
    if reference is not None:
        return {**value, "source": put(reference)}
    return {
        key: _walked(inner, put, depth - 1) if key in ("content", "source") else inner for key, inner in value.items()
    }


def _reference(block: Mapping[str, Any]) -> Reference | None:
    source = block.get("source")
    if block.get("type") not in ("image", "document") or not isinstance(source, dict) or source.get("type") != "file":
        return None
    file_id = source.get("file_id")
    return (block["type"], file_id) if isinstance(file_id, str) else None


def _source(row: FileRow, path: Path, block_type: str) -> dict[str, Any]:
    mime_type = row.mime_type
    if block_type == "image" and mime_type in IMAGES:
        return {"type": "base64", "media_type": mime_type, "data": base64.b64encode(path.read_bytes()).decode()}
    if block_type == "document" and mime_type == PDF:
        return {"type": "base64", "media_type": PDF, "data": base64.b64encode(path.read_bytes()).decode()}
    if block_type == "document" and (mime_type.startswith("text/") or mime_type == "application/json"):
        return {"type": "text", "media_type": "text/plain", "data": _text(row, path)}
    raise InvalidRequest(
        f"messages: the file {row.id} ({mime_type}) cannot be in a block of type {block_type}. Images: "
        f"{', '.join(IMAGES)}; documents: {PDF} and text."
    )


def _text(row: FileRow, path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"messages: the file {row.id} ({row.mime_type}) is not UTF-8 text.") from error
