"""Heads that come again: what was found out about that of one request serves the next ones of its connection.

A client sends the same head with every request of a connection, but for the length of the body. What it means (the
key's hash, the lines that an upstream gets) is worked out when it is first seen, and its bytes are parsed only until
they have come twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
Headers = list[tuple[bytes, bytes]]


class Repeated(Headers):
    """Headers, and what was found out about them. They must not be changed any more."""

    __slots__ = ("found", "mark")

    def __init__(self, headers: Headers) -> None:
        super().__init__(headers)
        self.mark = hash(tuple(headers))
        self.found: dict[Callable[[Headers], Any], Any] = {}

    def are(self, headers: Headers) -> bool:
        """Whether these are the same. The hash is keyed: how long this takes tells nothing of a key among them."""
        return hash(tuple(headers)) == self.mark and self == headers


_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)(?=\r\n)", re.IGNORECASE)
_LENGTH_DIGITS = 12


class SameHead:
    """The bytes of a head that was parsed and taken, by which the next one is known again, whatever its length says."""

    __slots__ = ("_after", "_after_mark", "_before", "_before_mark")

    def __init__(self, before: bytes, after: bytes) -> None:
        """`before` goes up to the digits of its `content-length`, `after` from there to the end of the blank line."""
        self._before, self._after = before, after
        self._before_mark, self._after_mark = hash(before), hash(after)

    @classmethod
    def of(cls, data: bytes) -> SameHead | None:
        """Of the request that these bytes begin with; `None` where its head is not all here, or tells no length."""
        end = data.find(b"\r\n\r\n") + 4
        found = _LENGTH.search(data, 0, end)
        if end < 4 or found is None:
            return None
        return cls(data[: found.start(1)], data[found.end(1) : end])

    def body_of(self, data: bytes) -> bytes | None:
        """The body, if these bytes are this head again and exactly its body; else `None`. The hashes are keyed, so
        that how long this takes tells nothing of a key in the head.
        """
        at = len(self._before)
        before = data[:at]
        if hash(before) != self._before_mark:
            return None
        end = data.find(b"\r", at, at + _LENGTH_DIGITS + 1)
        start = end + len(self._after)
        after = data[end:start]
        if end < 0 or hash(after) != self._after_mark or before != self._before or after != self._after:
            return None
        digits = data[at:end]
        return data[start:] if digits.isdigit() and int(digits) == len(data) - start else None


def once(headers: Headers, work: Callable[[Headers], T]) -> T:
    """`work(headers)`, done once for headers that come again. It depends on nothing else, and changes nothing."""
    if not isinstance(headers, Repeated):
        return work(headers)
    try:
        found: T = headers.found[work]
    except KeyError:
        found = headers.found[work] = work(headers)
    return found
