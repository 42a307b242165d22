"""What kind of work a batch is: the same for batches that ask the same of other texts; one tells of the next."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from freehold.batches.intake import Request
from freehold.errors import InvalidRequest
from freehold.wire.envelopes import parse_fields

_LOOKED_AT = 32
_PREFIX_BYTES = 2_000
_OF_ONE = ("messages", "metadata")
"""Members that differ from request to request."""
_HALF_A_WORD = re.compile(rb"[^\s{}\[\]\",:]*$")


def kind_of(requests: Sequence[Request], task_type: str | None) -> str:
    """A name for the kind: from the task type that the client gave, every parameter but the messages, and the words
    with which the messages of all requests begin, which a template gives them."""
    step = max(1, len(requests) // _LOOKED_AT)
    seen = [_fields(bytes(request.params)) for request in requests[::step][:_LOOKED_AT]]
    made = hashlib.sha256(repr(task_type).encode())
    for name in sorted({name for fields in seen for name in fields if name not in _OF_ONE}):
        made.update(repr((name, sorted({fields.get(name, b"") for fields in seen}))).encode())
    if len(seen) > 1:
        made.update(_HALF_A_WORD.sub(b"", _shared([fields.get("messages", b"") for fields in seen])))
    return made.hexdigest()[:32]


def _shared(texts: Sequence[bytes]) -> bytes:
    """What all of them begin with."""
    low, high = min(texts)[:_PREFIX_BYTES], max(texts)
    same = 0
    while same < min(len(low), len(high)) and low[same] == high[same]:
        same += 1
    return low[:same]


def _fields(params: bytes) -> dict[str, bytes]:
    try:
        return parse_fields(params)
    except InvalidRequest:
        return {}
