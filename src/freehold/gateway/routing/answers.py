"""When two answers are the same: tool calls, JSON, numbers and labels can be compared, free text cannot. Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_sorted = msgspec.json.Encoder(order="sorted").encode
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
_SAID = re.compile(r"(?:####|answer(?: is|:)|=)\s*+\$?([-+]?\d[\d,]*+(?:\.\d+)?)\W*$", re.IGNORECASE)
_EDGES = " \t\r\n.,;:!?\"'`*()[]。，；：！？"
_LABEL_CHARS, _LABEL_WORDS = 60, 5
_FENCE = "```"
_ENDED = ("end_turn", "tool_use", "stop_sequence")
Closed = tuple[str, object]


def closed_answer(body: bytes) -> Closed | None:
    """What a whole answer says, in a form that can be compared; `None` where it is free text, or was cut off."""
    try:
        message = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list) or message.get("stop_reason") not in _ENDED:
        return None
    blocks = [block for block in content if isinstance(block, dict)]
    uses = [block for block in blocks if block.get("type") == "tool_use"]
    if uses:
        return "tools", sorted(str(use.get("name")) + _sorted(use.get("input")).decode() for use in uses)
    texts = [block["text"] for block in blocks if isinstance(block.get("text"), str)]
    return _of_text("".join(texts).strip()) if texts else None


def _of_text(text: str) -> Closed | None:
    fenced = text.startswith(_FENCE) and text.endswith(_FENCE) and len(text) >= 2 * len(_FENCE)
    inside = text.strip("`").removeprefix("json").strip() if fenced else text
    if inside[:1] in ("{", "["):
        value = _json(inside)
        return None if value is None else ("json", _sorted(value))
    plain = text.strip(_EDGES)
    said = _SAID.search(text)
    number = plain.lstrip("$") if _NUMBER.fullmatch(plain.lstrip("$")) else said[1] if said else None
    if number is not None:
        return "number", float(number.replace(",", ""))
    if plain and len(plain) <= _LABEL_CHARS and len(plain.split()) <= _LABEL_WORDS:
        return "label", " ".join(plain.casefold().split())
    return None


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return None
