"""Turns what a function gave into content blocks: text, blocks of the API, or JSON; never more than fits."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NEEDS: Mapping[str, Mapping[str, Any]] = {
    "text": {"text": str},
    "image": {"source": Mapping},
    "document": {"source": Mapping},
    "search_result": {"source": str, "title": str, "content": Sequence},
}
"""The blocks a tool result may hold, and the member each cannot be without (SDK 2.12, agent.mcp_tool_result)."""
_BEGINNINGS: Mapping[str, bytes] = {
    "image/png": b"\x89PNG",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
    "application/pdf": b"%PDF-",
}
"""The media that a model can be shown, and how they begin. One that is not so would be refused, and with it every later
request of its conversation."""
_MOST_BLOCKS = 100
_MOST_ITEMS = 1_000_000
"""Of an iterator: it may have no end."""

Block = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of a result goes to the model; both in bytes of UTF-8."""

    text_bytes: int
    media_bytes: int


def blocks(value: object, sizes: Sizes) -> list[Block]:
    """The content of a tool result.

    A string is text; a list of blocks is taken as it is; `None` says that there was nothing; anything else is JSON
    (dataclasses and pydantic models as objects; dates, decimals and the like as their text).
    """
    return _fit(_to_blocks(value), sizes)


def text_block(text: str) -> Block:
    """One block of text, made valid Unicode."""
    return {"type": "text", "text": text.encode("utf-8", "replace").decode("utf-8")}


def _to_blocks(value: object) -> list[Block]:
    if isinstance(value, str):
        return [text_block(value or "(empty)")]
    if value is None:
        return [text_block("(done; no result)")]
    if _is_block(value):
        return [_clean(value)]
    if isinstance(value, list | tuple | Iterator):
        value = list(itertools.islice(value, _MOST_ITEMS))
        if value and all(_is_block(item) for item in value):
            return [_clean(item) for item in value]
    return [text_block(_json(value))]


def _is_block(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    needs: Mapping[str, Any] = _NEEDS.get(str(value.get("type")), {})
    return bool(needs) and all(isinstance(value.get(name), kind) for name, kind in needs.items())


def _clean(block: Any) -> Block:
    return text_block(block["text"]) if block["type"] == "text" else dict(json.loads(_json(block)))


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=_plain)
    return text.encode("utf-8", "replace").decode("utf-8")


def _plain(value: object) -> object:
    """What `json` does not know itself."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    if isinstance(value, set | frozenset):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def _fit(content: list[Block], sizes: Sizes) -> list[Block]:
    left = sizes.text_bytes
    fitted: list[Block] = []
    for block in content[:_MOST_BLOCKS]:
        if block["type"] != "text":
            fitted.append(_fit_media(block, sizes.media_bytes))
            continue
        kept, left = _fit_text(str(block["text"]), left)
        fitted.append(text_block(kept))
    if len(content) > _MOST_BLOCKS:
        fitted.append(text_block(f"[{len(content) - _MOST_BLOCKS} more blocks were cut]"))
    return fitted


def _fit_text(text: str, left_bytes: int) -> tuple[str, int]:
    raw = text.encode("utf-8")
    if len(raw) <= left_bytes:
        return text, left_bytes - len(raw)
    head = raw[:left_bytes].decode("utf-8", "ignore")
    note = f"[cut: the result has {len(raw)} bytes, {left_bytes} are shown; ask for less]"
    return f"{head}\n{note}" if head else note, 0


def _fit_media(block: Block, most_bytes: int) -> Block:
    size = len(_json(block).encode("utf-8"))
    if size <= most_bytes:
        return shown(block)
    return text_block(f"[cut: a {block['type']} of {size} bytes; at most {most_bytes} bytes are shown]")


def shown(block: Block) -> Block:
    """The block, or in words why its media cannot be shown: the model would refuse them now and in every later
    request.
    """
    wrong = _wrong(block.get("source"))
    return block if wrong is None else text_block(f"[{block['type']} that cannot be shown: {wrong}]")


def begins_as(media_type: str, data: bytes) -> bool:
    """Whether these bytes begin as that kind of media does, one of those that a model can be shown; a PDF may do so
    anywhere in its first kilobyte.
    """
    begins = data[:1024] if media_type == "application/pdf" else data[: len(_BEGINNINGS[media_type])]
    return _BEGINNINGS[media_type] in begins


def _wrong(source: Any) -> str | None:
    """Why bytes in base64 are not what they are said to be; nothing, where they are not in the block itself."""
    if not isinstance(source, Mapping) or source.get("type") != "base64":
        return None
    kind = str(source.get("media_type"))[:100]
    if kind not in _BEGINNINGS:
        return f"it is {kind}"
    try:
        data = base64.b64decode(str(source.get("data")), validate=True)
    except ValueError:
        return "it is not base64"
    return None if begins_as(kind, data) else f"it is no {kind}"
