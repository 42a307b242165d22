"""What became of a call whose answer nobody was there to take: one line for each call that ended, outside the box.

The supervisor appends through a descriptor that the server opened; nothing in a box can name the file. A line:

    {"key":"sevt_1","epoch":3,"content":[{"type":"text","text":"…"}],"is_error":false}
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from freehold.environments.base import ToolOutcome

_ROTATE_BYTES = 16 << 20
_LINE_BYTES = 2 << 20


def open_to_append(path: Path) -> int:
    """The descriptor that a box gets. A journal that has grown large begins anew; the one before it is kept."""
    if path.exists() and path.stat().st_size > _ROTATE_BYTES:
        path.replace(_older(path))
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def find(path: Path, key: str) -> ToolOutcome | None:
    """The outcome of that call, if it ended while a supervisor was there to write it down."""
    wanted = json.dumps(key).encode()
    for file in (path, _older(path)):
        found = None
        for line in _lines(file):
            if wanted in line[:600]:
                found = _outcome(line, key) or found
        if found:
            return found
    return None


def outcome_of(message: dict[str, Any]) -> ToolOutcome:
    """The outcome in a line of a supervisor, checked: whoever took over a box must not feed the server nonsense.

    Raises:
        ValueError: it is not an outcome.
    """
    content = message.get("content")
    if not isinstance(content, list) or not content or not isinstance(message.get("is_error"), bool):
        raise ValueError("not an outcome")
    return ToolOutcome(tuple(_block(block) for block in content), message["is_error"])


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            while line := file.readline(_LINE_BYTES):
                yield line
    except FileNotFoundError:
        return


def _outcome(line: bytes, key: str) -> ToolOutcome | None:
    try:
        message = json.loads(line)
        return outcome_of(message) if message.get("key") == key else None
    except (ValueError, AttributeError):
        return None  # cut off in the middle: the box died while it wrote


def _block(block: Any) -> dict[str, Any]:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text" and isinstance(block.get("text"), str):
        return {"type": "text", "text": _encodable(block["text"]) or "(no output)"}
    source = block.get("source") if kind in ("image", "document") else None
    if isinstance(source, dict) and all(isinstance(source.get(f), str) for f in ("media_type", "data")):
        plain = {"type": "base64", "media_type": _encodable(source["media_type"]), "data": _encodable(source["data"])}
        return {"type": kind, "source": plain}
    raise ValueError("not a content block")


def _encodable(text: str) -> str:
    """File names need not be UTF-8; what we store must be."""
    return text.encode("utf-8", "replace").decode("utf-8")
