"""Spans as values: what took how long, below what. Names and attributes follow OpenTelemetry's GenAI conventions.

Whoever makes a span hands it to a `TakesSpans` when it is over; nothing here keeps, samples or sends one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

Attributes = Mapping[str, str | int | float | bool | tuple[str, ...]]


class Place(msgspec.Struct, frozen=True, gc=False):
    """A span's place: which trace, which span of it. Numbers of 128 and 64 bits, never 0."""

    trace_id: int
    span_id: int


class Span(msgspec.Struct, frozen=True, gc=False):
    """One piece of work that is over. Times in ns since 1970."""

    name: str
    place: Place
    parent: Place | None
    start_ns: int
    end_ns: int
    kind: Literal["server", "client", "internal"] = "internal"
    attributes: Attributes = {}
    error: str | None = None
    """Its `error.type`, where it failed."""


TakesSpans = Callable[[Span], None]


def new_span_id() -> int:
    """A number that no other span of the trace has."""
    return random.getrandbits(64) or 1


def new_place() -> Place:
    """The first span of a new trace."""
    return Place(random.getrandbits(128) or 1, new_span_id())


def place_of(text: str) -> Place:
    """The same place for the same text: how parts that do not know each other meet in one trace."""
    digest = hashlib.sha256(text.encode()).digest()
    return Place(int.from_bytes(digest[:16], "big") or 1, int.from_bytes(digest[16:24], "big") or 1)


def is_chosen(place: Place, share: float) -> bool:
    """Whether that trace is one of the share that is traced; the same answer everywhere (W3C's random trace flag)."""
    return (place.trace_id & ((1 << 56) - 1)) < share * (1 << 56)
