"""A stream as it was read: what each read of the upstream brought, and how it is handed on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from freehold.wire.frames import borders_of
from freehold.wire.sinks import Sink, noting


class Read:
    """What one read of the upstream brought: `data`, which always ends at a border of two events: a half event is kept
    back until its rest has come. `borders` is the offset after each complete event, found when somebody asks.
    """

    __slots__ = ("_borders", "data")

    def __init__(self, data: bytes, borders: list[int] | None = None) -> None:
        self.data = data
        self._borders = borders

    @property
    def borders(self) -> list[int]:
        """The offset after each event, in ascending order; the last one is the length of `data`."""
        if self._borders is None:
            self._borders = borders_of(self.data)
        return self._borders


async def pour(reads: AsyncIterator[Read], sink: Sink) -> bool:
    """Hand on read after read until the end (True), or until the sink wants no more for now (False; pour again).

    Reads that have a `pour` of their own do so without a task being woken for each of them, which costs more than all
    that is done to a small event. Raises what the reads raise, or the sink's `FreeholdError`.
    """
    own = getattr(reads, "pour", None)
    if own is not None:
        over: bool = await own(sink)
        return over
    async for read in reads:
        if not sink(read.data):
            return False
    return True


def can_pause(reads: AsyncIterator[Read]) -> bool:
    """Whether a `pour` of these that is cancelled loses nothing, and they can be poured or read on."""
    return getattr(reads, "pauses", False)


class NotedReads:
    """The same reads; `note` is told the bytes of each on its way."""

    __slots__ = ("_next", "_note", "_reads", "pauses")

    def __init__(self, reads: AsyncIterator[Read], note: Callable[[bytes], None]) -> None:
        self._reads = reads
        self.pauses = can_pause(reads)
        self._next = reads.__aiter__().__anext__
        self._note = note

    def __aiter__(self) -> NotedReads:
        return self

    async def __anext__(self) -> Read:
        read = await self._next()
        self._note(read.data)
        return read

    async def pour(self, sink: Sink) -> bool:
        """See `pour`."""
        return await pour(self._reads, noting(sink, self._note))
