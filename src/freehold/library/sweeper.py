"""Takes away blobs that nothing refers to any more, and what dead uploads left behind."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from freehold.clock import Clock
from freehold.library.blobs import Blobs
from freehold.store.blobs import BlobUsers

T = TypeVar("T")
_AT_ONCE = 500
"""Blobs that one query asks for."""


@dataclass(frozen=True, slots=True)
class Swept:
    """How many of each a sweep took away."""

    blobs: int
    uploads: int


class Sweeper:
    """Safe beside uploads, copies and other processes: each removal makes certain, in the database, that it may."""

    def __init__(self, users: BlobUsers, blobs: Blobs, *, clock: Clock) -> None:
        self._users = users
        self._blobs = blobs
        self._clock = clock

    async def sweep(self) -> Swept:
        """Look at every blob once. Costs a query for 500 of them."""
        removed, rest = 0, batches(self._blobs.all(), _AT_ONCE)
        while names := await asyncio.to_thread(next, rest, None):
            used = await self._users.used(names, self._clock.now_us())
            for name in names:
                if name not in used:
                    removed += await self.remove_unused(name)
        return Swept(removed, await asyncio.to_thread(self._blobs.sweep_incoming))

    async def remove_unused(self, sha256: str) -> bool:
        """Remove one blob unless something refers to it."""
        return await self._users.remove_unused(sha256, self._clock.now_us(), lambda: self._blobs.remove(sha256))


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """`items` in lists of `size`, the last one shorter."""
    rest = iter(items)
    while batch := list(itertools.islice(rest, size)):
        yield batch
