"""The beginning of a stream, held back: so that an error which comes before any content can still be retried unseen.

Held are `message_start`, `ping` and the beginning of a content block, which come right before the first delta; never
content, and never longer than the given time. What was held leaves as one read, bytes as they came. Knows nothing of
retries.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field

from freehold.errors import FreeholdError, UpstreamFailed
from freehold.wire.envelopes import STATUS_BY_TYPE, error_of
from freehold.wire.frames import events
from freehold.wire.reads import Read, can_pause, pour
from freehold.wire.sinks import Sink

_UNTOLD = frozenset({"message_start", "ping", "content_block_start", ""})
_DELTA = b"event: content_block_delta\n"
_NOTHING_CAME = "The upstream ended its stream before it had said anything."


@dataclass(slots=True)
class Held:
    """What the beginning of a stream turned out to be."""

    reads: list[Read] = field(default_factory=list)
    failure: FreeholdError | None = None
    """It failed before any content: by an `error` event, which is among `reads` as it came, by breaking off, or by
    ending there."""
    broken: bool = False
    """It broke off: after `reads` comes `failure`."""
    pending: asyncio.Task[Read | None] | None = None
    """A read that was begun and had not come when the time was over."""

    def resume(self, rest: AsyncIterator[Read]) -> AsyncIterator[Read]:
        """The stream from its beginning: what was held, what was pending, then `rest`."""
        return _Resumed(self, rest)

    async def drop(self) -> None:
        """Nobody will read on."""
        if self.pending is not None:
            self.pending.cancel()
            await asyncio.gather(self.pending, return_exceptions=True)


async def hold(reads: AsyncIterator[Read], most_s: float) -> Held:
    """Read until there is content, an error, the end, or `most_s` have passed since the first read."""
    held = Held()
    try:
        read = await _next(reads)  # nothing is held before there is something
        if _is_over(held, read):
            return held
        async with asyncio.timeout(most_s):
            await (_pour(held, reads) if can_pause(reads) else _step(held, reads))
    except TimeoutError:
        return held
    except FreeholdError as error:
        held.pending = None
        held.failure = error
        held.broken = True
        return held
    except BaseException:
        await held.drop()
        raise
    return held


async def _pour(held: Held, reads: AsyncIterator[Read]) -> None:
    """Nothing is woken for what is only held."""
    if await pour(reads, lambda data: not _is_over(held, Read(data))):
        _is_over(held, None)


async def _step(held: Held, reads: AsyncIterator[Read]) -> None:
    while True:
        held.pending = asyncio.create_task(_next(reads))
        # The task stands between the time-out and the stream: a read that is cut off would be lost.
        read = await asyncio.shield(held.pending)
        held.pending = None
        if _is_over(held, read):
            return


async def _next(reads: AsyncIterator[Read]) -> Read | None:
    return await anext(reads, None)


def _is_over(held: Held, read: Read | None) -> bool:
    if read is None:
        # It ended, and nothing was told: what there is leaves as it came, unless there is nothing at all.
        held.failure = UpstreamFailed(_NOTHING_CAME)
        held.broken = not held.reads
        return True
    held.reads.append(read)
    delta = read.data.find(_DELTA)
    if delta >= 0 and read.data.find(b"error", 0, delta) < 0:
        return True
    for name, data in events(read.data):
        if name == "error":
            held.failure = _error(data)
        if name not in _UNTOLD:
            return True
    return False


def _error(data: bytes) -> FreeholdError:
    error = error_of(500, data)
    return error_of(STATUS_BY_TYPE.get(error.type, 500), data)


class _Resumed:
    """Costs no frame of its own per read: once the beginning is out, it hands over the inner stream's awaitables."""

    __slots__ = ("_held", "_rest")

    def __init__(self, held: Held, rest: AsyncIterator[Read]) -> None:
        self._held: Held | None = held
        self._rest = rest

    def __aiter__(self) -> _Resumed:
        return self

    def __anext__(self) -> Awaitable[Read]:
        if self._held is None:
            return self._rest.__anext__()
        return self._beginning(self._held)

    async def pour(self, sink: Sink) -> bool:
        """See `wire.reads.pour`."""
        while self._held is not None:
            try:
                read = await self._beginning(self._held)
            except StopAsyncIteration:
                return True
            if not sink(read.data):
                return False
        return await pour(self._rest, sink)

    async def _beginning(self, held: Held) -> Read:
        if held.reads:
            reads, held.reads = held.reads, []
            return _joined(reads)
        self._held = None
        if held.pending is not None:
            return _or_end(await held.pending)
        if held.broken and held.failure is not None:
            raise held.failure
        return await anext(self._rest)


def _or_end(read: Read | None) -> Read:
    if read is None:
        raise StopAsyncIteration
    return read


def _joined(reads: list[Read]) -> Read:
    if len(reads) == 1:
        return reads[0]
    return Read(b"".join([read.data for read in reads]))
