"""Spans as the bytes of an `ExportTraceServiceRequest` (opentelemetry-proto 1.x, trace/v1/trace.proto, read 2026-11).

Written out by hand because every traced call pays for it: with OpenTelemetry's own objects it was 190 µs a call.
Attributes come again and again, so their bytes are remembered. No I/O.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache

from freehold.telemetry.spans import Span

Value = str | int | float | bool | tuple[str, ...]
_KINDS = {"internal": b"\x30\x01", "server": b"\x30\x02", "client": b"\x30\x03"}
_FAILED = b"\x7a\x02\x18\x02"
"""Field 15, a Status whose code is ERROR."""
_SAMPLED = b"\x85\x01\x01\x00\x00\x00"
"""Field 16, the flags of W3C Trace Context."""
_LONGEST_KEPT = 1024
"""Longer texts and greater numbers hardly come again."""


def request(spans: Iterable[Span], resource: Mapping[str, Value], scope: tuple[str, str]) -> bytes:
    """All of them as one request: of one resource, made by one scope (name and version)."""
    named = _field(0x0A, scope[0].encode()) + _field(0x12, scope[1].encode())
    of_scope = _field(0x0A, named) + b"".join([_field(0x12, encoded(span)) for span in spans])
    of_resource = b"".join(_field(0x0A, _attribute(*pair)) for pair in resource.items())
    return _field(0x0A, _field(0x0A, of_resource) + _field(0x12, of_scope))


def encoded(span: Span) -> bytes:
    """One `Span`."""
    place, parent = span.place, span.parent
    parts = [
        b"\x0a\x10", place.trace_id.to_bytes(16, "big"),
        b"\x12\x08", place.span_id.to_bytes(8, "big"),
        b"" if parent is None else b"\x22\x08" + parent.span_id.to_bytes(8, "big"),
        _field(0x2A, span.name.encode()),
        _KINDS[span.kind],
        struct.pack("<BQBQ", 0x39, span.start_ns, 0x41, span.end_ns),
    ]  # fmt: skip
    for key, value in span.attributes.items():
        size = value if isinstance(value, int) else len(value) if isinstance(value, str | tuple) else _LONGEST_KEPT
        parts.append(_kept(key, value) if size < _LONGEST_KEPT else _whole(key, value))
    if span.error:
        parts += (_kept("error.type", span.error), _FAILED)
    parts.append(_SAMPLED)
    return b"".join(parts)


@lru_cache(maxsize=8192, typed=True)
def _kept(key: str, value: Value) -> bytes:
    return _field(0x4A, _attribute(key, value))


def _whole(key: str, value: Value) -> bytes:
    return _field(0x4A, _attribute(key, value))


def _attribute(key: str, value: Value) -> bytes:
    return _field(0x0A, key.encode()) + _field(0x12, _value(value))


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        return _field(0x0A, value.encode())
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    if isinstance(value, float):
        return struct.pack("<Bd", 0x21, value)
    return _field(0x2A, b"".join(_field(0x0A, _value(one)) for one in value))


def _field(tag: int, content: bytes) -> bytes:
    """A field with a length before it; `tag` is its number and wire type as one byte."""
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    return bytes((tag,)) + _varint(size) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
