"""Files that go along with a message, as the content blocks of the API: images, PDFs, texts."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from freehold.errors import FreeholdError

_IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"}
_LARGEST_BYTES = 20 << 20
"""Base64 makes a third more of it, and a request may have 32 MB."""


class Unfit(FreeholdError):
    """The file cannot go along; the message says why."""


def block(file: Path) -> dict[str, Any]:
    """The content block for a file, by its ending; what is no image and no PDF is taken as UTF-8 text.

    Raises:
        Unfit: it cannot be read, is too large, or is of no kind that a model takes.
    """
    content = _read(file)
    ending = file.suffix.lower()
    if ending in _IMAGES:
        return {"type": "image", "source": _base64(_IMAGES[ending], content)}
    if ending == ".pdf":
        return {"type": "document", "title": file.name, "source": _base64("application/pdf", content)}
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unfit(f"{file} is no image, no PDF and no UTF-8 text") from error
    return {
        "type": "document",
        "title": file.name,
        "source": {"type": "text", "media_type": "text/plain", "data": text},
    }


def _read(file: Path) -> bytes:
    try:
        size = file.stat().st_size
        if size > _LARGEST_BYTES:
            raise Unfit(f"{file} has {size:,} bytes; at most {_LARGEST_BYTES:,} go along with a message")
        return file.read_bytes()
    except OSError as error:
        raise Unfit(f"{file} cannot be read: {error.strerror or error}") from error


def _base64(media_type: str, content: bytes) -> dict[str, str]:
    return {"type": "base64", "media_type": media_type, "data": base64.b64encode(content).decode("ascii")}
