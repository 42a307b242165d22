"""Takes the breakpoints out of a request: its client's are not wanted. The one place that writes a request anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from freehold.wire.envelopes import replace_fields

_NAME = "cache_control"


def unmarked(body: bytes, fields: Mapping[str, bytes]) -> bytes:
    """The body without any breakpoint. Members without one keep their bytes; what cannot be read stays as it is."""
    changes: dict[str, bytes | None] = {}
    for member in ("tools", "system", "messages"):
        raw = fields.get(member, b"")
        if b'"cache_control"' in raw:
            try:
                changes[member] = msgspec.json.encode(_clean(msgspec.json.decode(raw)))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
    if _NAME in fields:
        changes[_NAME] = None
    return replace_fields(body, fields, changes) if changes else body


def _clean(value: Any) -> Any:
    """Breakpoints stand on tools, blocks, and blocks within results; the input of a tool is not looked into."""
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if isinstance(value, dict):
        return {name: _clean(inner) if name == "content" else inner for name, inner in value.items() if name != _NAME}
    return value
