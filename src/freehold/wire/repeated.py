"""Heads that come again: what was found out about that of one request serves the next ones of its connection.

A client sends the same head with every request of a connection, but for the length of the body. What it means (the
key's hash, the lines that an upstream gets) is worked out when it is first seen.
"""

from __future__ import annotations

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


def once(headers: Headers, work: Callable[[Headers], T]) -> T:
    """`work(headers)`, done once for headers that come again. It depends on nothing else, and changes nothing."""
    if not isinstance(headers, Repeated):
        return work(headers)
    try:
        found: T = headers.found[work]
    except KeyError:
        found = headers.found[work] = work(headers)
    return found
