"""Files that a message refers to by id, put into it as they are: for upstreams that have no Files API.

An image or document block with `{"type": "file", "file_id": …}` as its source gets the file's bytes as base64, a text
file its text. All that is not such a block stays as it was. Knows no HTTP and no calls.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from freehold.errors import InvalidRequest, NotFound, TooLarge
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
Block = dict[str, Any]
Missing = Literal["refuse", "leave", "say"]
"""What becomes of a block whose file is not there: `NotFound`, the block as it was, or a text that says so."""


class MessageFiles:
    """Puts files into messages."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def check(self, workspace_id: str, messages: Sequence[Any]) -> None:
        """Whether every file that they refer to can be put in. Raises as `inlined`."""
        left = LIMIT_BYTES
        for block_type, file_id in sorted(_references(messages)):
            row, _ = await self._files.open(workspace_id, file_id)
            left -= row.size_bytes
            _refuse_too_large(left)
            _refuse_other_kind(row, block_type)

    async def inlined(self, workspace_id: str, messages: Sequence[Any], *, missing: Missing = "refuse") -> list[Any]:
        """The messages with every file of the workspace in place of its id; those given are not changed.

        Costs a walk over the messages, and for each file a row and a read. Call it only when `file_id` occurs.

        Raises:
            NotFound: there is no such file, or its bytes have expired.
            InvalidRequest: a file that is neither image, PDF nor text, or an image where a document is needed.
            TooLarge: more than 32 MB of files in all.
        """
        sources = await self._read(workspace_id, _references(messages), missing)

        def put(reference: Reference, block: Block) -> Block:
            if reference in sources:
                return {**block, "source": sources[reference]}
            return block if missing == "leave" else {"type": "text", "text": f"[The file {reference[1]} is gone.]"}

        inlined: list[Any] = _walked(list(messages), put)
        return inlined

    async def _read(
        self, workspace_id: str, wanted: set[Reference], missing: Missing
    ) -> dict[Reference, dict[str, Any]]:
        sources: dict[Reference, dict[str, Any]] = {}
        left = LIMIT_BYTES
        for reference in sorted(wanted):
            block_type, file_id = reference
            try:
                row, path = await self._files.open(workspace_id, file_id)
            except NotFound:
                if missing == "refuse":
                    raise
                continue
            left -= row.size_bytes
            _refuse_too_large(left)
            _refuse_other_kind(row, block_type)
            sources[reference] = await asyncio.to_thread(_source, row, path, block_type)
        return sources


def _references(messages: Sequence[Any]) -> set[Reference]:
    wanted: set[Reference] = set()

    def note(reference: Reference, block: Block) -> Block:
        wanted.add(reference)
        return block

    _walked(list(messages), note)
    return wanted


def _walked(value: Any, put: Callable[[Reference, Block], Block], depth: int = _DEPTH) -> Any:
    """`value` with what `put` makes of each block that refers to a file."""
    if isinstance(value, list):
        return [_walked(one, put, depth) for one in value]
    if not isinstance(value, dict) or depth == 0:
        return value
    reference = _reference(value)
    if reference is not None:
        return put(reference, value)
    return {
        key: _walked(inner, put, depth - 1) if key in ("content", "source") else inner for key, inner in value.items()
    }


def _reference(block: Mapping[str, Any]) -> Reference | None:
    source = block.get("source")
    if block.get("type") not in ("image", "document") or not isinstance(source, dict) or source.get("type") != "file":
        return None
    file_id = source.get("file_id")
    return (block["type"], file_id) if isinstance(file_id, str) else None


def _refuse_too_large(left: int) -> None:
    if left < 0:
        raise TooLarge(f"messages: the files in them are together larger than {LIMIT_BYTES:,} bytes.")


def _refuse_other_kind(row: FileRow, block_type: str) -> None:
    mime_type = row.mime_type
    fits = mime_type in IMAGES if block_type == "image" else mime_type == PDF or _is_text(mime_type)
    if not fits:
        raise InvalidRequest(
            f"messages: the file {row.id} ({mime_type}) cannot be in a block of type {block_type}. Images: "
            f"{', '.join(IMAGES)}; documents: {PDF} and text."
        )


def _is_text(mime_type: str) -> bool:
    return mime_type.startswith("text/") or mime_type == "application/json"


def _source(row: FileRow, path: Path, block_type: str) -> dict[str, Any]:
    if block_type == "document" and _is_text(row.mime_type):
        return {"type": "text", "media_type": "text/plain", "data": _text(row, path)}
    return {"type": "base64", "media_type": row.mime_type, "data": base64.b64encode(path.read_bytes()).decode()}


def _text(row: FileRow, path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"messages: the file {row.id} ({row.mime_type}) is not UTF-8 text.") from error
