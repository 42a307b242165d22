"""Which requests of a batch begin alike, as far as their cache breakpoints say: what the cache of prompts can serve.

A request with `cache_control` at its tools, its system prompt or a block of its messages has a *prefix* at each of
these places: all that stands before and at it. Requests with a prefix in common are worked on one after the other, and
the first of them alone, so that it has written the cache when the others come (`batches/warmth.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from freehold.errors import InvalidRequest
from freehold.wire.envelopes import parse_fields

_MARK = b'"cache_control"'
_MOST = 4
"""Breakpoints that the API takes."""


class _Message(msgspec.Struct):
    role: str
    content: msgspec.Raw


def prefixes(params: bytes) -> tuple[bytes, ...]:
    """A name for each of a request's prefixes, shortest first; none where it has no breakpoints. Half a microsecond for
    a request without."""
    if _MARK not in params:
        return ()
    try:
        fields = parse_fields(params)
        pieces = list(_pieces(fields))
    except (InvalidRequest, msgspec.MsgspecError, RecursionError):
        return ()
    running = hashlib.blake2b(fields.get("model", b""), digest_size=12)
    found = []
    for piece in pieces:
        running.update(b"\0" + piece)
        if _MARK in piece:
            found.append(running.copy().digest())
    return tuple(found[:_MOST])


def _pieces(fields: dict[str, bytes]) -> Iterator[bytes]:
    """What the API caches, in its order: tools, system, messages; block by block."""
    for name in ("tools", "system"):
        yield from _blocks(fields.get(name, b"null"))
    for message in msgspec.json.decode(fields.get("messages", b"[]"), type=list[_Message]):
        yield message.role.encode()
        yield from _blocks(bytes(message.content))


def _blocks(raw: bytes) -> Iterable[bytes]:
    if not raw.startswith(b"["):
        return (raw,)
    return (bytes(block) for block in msgspec.json.decode(raw, type=list[msgspec.Raw]))


def turns(of_each: Sequence[tuple[bytes, ...]]) -> list[int]:
    """The turn in which each request is worked on: those with a prefix in common follow each other, groups in the order
    in which they first appear, and within a group as they came. Without prefixes: as they came."""
    if not any(of_each):
        return list(range(len(of_each)))
    first: dict[bytes, int] = {}
    for place, names in enumerate(of_each):
        for name in names:
            first.setdefault(name, place)
    order = sorted(
        range(len(of_each)),
        key=lambda place: ([first[name] for name in of_each[place]] or [place], place),
    )
    found = [0] * len(of_each)
    for turn, place in enumerate(order):
        found[place] = turn
    return found
