"""The `traceparent` header of W3C Trace Context (level 1, read 2026-11): whose trace a request belongs to."""

from __future__ import annotations

import re

from freehold.telemetry.spans import Place

HEADER = b"traceparent"
_FORM = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def parsed(value: bytes) -> tuple[Place, bool] | None:
    """The caller's span and whether the caller traces; `None` where the value is none."""
    found = _FORM.fullmatch(value.strip())
    if found is None:
        return None
    place = Place(int(found[1], 16), int(found[2], 16))
    return (place, bool(int(found[3], 16) & 1)) if place.trace_id and place.span_id else None


def header(place: Place, *, traced: bool = True) -> bytes:
    """The value that names this span to whoever is called."""
    return b"00-%032x-%016x-%02x" % (place.trace_id, place.span_id, traced)
