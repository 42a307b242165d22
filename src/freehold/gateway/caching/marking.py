"""Puts breakpoints into a request: bytes are added behind a block, and no other byte of it changes.

The last block gets its breakpoint by the request's own `cache_control` (automatic caching), so that nothing in the
conversation is touched from one turn to the next. A plain string becomes the one text block that it stands for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from freehold.gateway.caching.layout import Block, Layout
from freehold.gateway.caching.plan import Mark
from freehold.wire.envelopes import replace_fields

_FIVE = b'{"type":"ephemeral"}'
_HOUR = b'{"type":"ephemeral","ttl":"1h"}'
NAME = b'"cache_control"'
_CONTENT = re.compile(rb'"content"\s*:\s*')


def marked(
    body: bytes, fields: Mapping[str, bytes], layout: Layout, marks: Sequence[Mark]
) -> tuple[bytes, dict[str, bytes]]:
    """(the body with these breakpoints, its top-level members)."""
    changes: dict[str, bytes] = {}
    last = len(layout.blocks) - 1
    for member in ("tools", "system", "messages"):
        own = [mark for mark in marks if layout.blocks[mark.at].place.member == member and mark.at != last]
        if own:
            changes[member] = _spliced(fields[member], member, layout, own)
    end = next((mark for mark in marks if mark.at == last), None)
    if end is not None:
        changes["cache_control"] = _HOUR if end.hour else _FIVE
    if not changes:
        return body, dict(fields)
    return replace_fields(body, fields, changes), {**fields, **changes}


def _spliced(raw: bytes, member: str, layout: Layout, marks: Sequence[Mark]) -> bytes:
    hours = {mark.at: mark.hour for mark in marks}
    pieces: list[bytes] = []
    done = at = 0
    for place, block in enumerate(layout.blocks):
        if block.place.member != member:
            continue
        at = _find(raw, block, at)
        end = at + len(block.raw)
        if place in hours:
            pieces += (raw[done:at], _with_mark(block, _HOUR if hours[place] else _FIVE))
            done = end
            if len(pieces) == 2 * len(hours):
                break
        at = end
    return b"".join((*pieces, raw[done:]))


def _find(raw: bytes, block: Block, after: int) -> int:
    """Where the block stands: the next place with its bytes, which for a message's plain text is behind its name."""
    if block.raw[:1] == b"{" or block.place.member != "messages":
        return raw.index(block.raw, after)
    return next(found.end() for found in _CONTENT.finditer(raw, after) if raw.startswith(block.raw, found.end()))


def _with_mark(block: Block, control: bytes) -> bytes:
    if block.raw[:1] == b'"':
        return b'[{"type":"text","text":%b,"cache_control":%b}]' % (block.raw, control)
    return b"%b,%b:%b}" % (block.raw[:-1].rstrip(), NAME, control)
