"""What time it is, as a value that is handed in: the system's, or one that a test turns by hand."""

from __future__ import annotations

import asyncio
import heapq
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for rows and answers, monotonic time for durations, and sleep, all from one source."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC. Every time in a table is this."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back; only differences mean anything."""

    async def sleep(self, seconds: float) -> None:
        """Return after that long on this clock."""


class SystemClock:
    """The machine's own clock."""

    def now_us(self) -> int:
        """See `Clock`."""
        return time.time_ns() // 1000

    monotonic_ns = staticmethod(time.monotonic_ns)
    """See `Clock`. Asked several times a call, so without a frame of its own."""

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)


class HandClock:
    """A clock that stands still until `advance`; sleepers wake in the order of their times."""

    def __init__(self, start_us: int = 1_767_225_600_000_000) -> None:
        """Begins at 2026-01-01 00:00 UTC unless told otherwise."""
        self._start_us = start_us
        self._elapsed_us = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    def now_us(self) -> int:
        """See `Clock`."""
        return self._start_us + self._elapsed_us

    def monotonic_ns(self) -> int:
        """See `Clock`."""
        return self._elapsed_us * 1000

    async def sleep(self, seconds: float) -> None:
        """Wait until somebody has advanced the clock by that much."""
        wake_us = self._elapsed_us + max(0, round(seconds * 1_000_000))
        if wake_us <= self._elapsed_us:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (wake_us, self._count, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Turn the clock; every sleeper that is due runs before this returns control to its caller."""
        target = self._elapsed_us + round(seconds * 1_000_000)
        while self._sleepers and self._sleepers[0][0] <= target:
            wake_us, _, future = heapq.heappop(self._sleepers)
            self._elapsed_us = max(self._elapsed_us, wake_us)
            if not future.done():
                future.set_result(None)
            await asyncio.sleep(0)
        self._elapsed_us = target
        await asyncio.sleep(0)

    async def jump(self, seconds: float) -> None:
        """Turn the clock at once, as for a machine that has slept: all that are due wake late and once. Days of a whole
        server pass in no time this way, where `advance` lives through every tick of every loop in it.
        """
        self._elapsed_us += round(seconds * 1_000_000)
        await self.advance(0)


def rfc3339(us: int) -> str:
    """`2026-11-23T06:12:58.123456Z` from microseconds since 1970; the form of every time in an answer."""
    return datetime.fromtimestamp(us / 1_000_000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> int:
    """Microseconds since 1970 from any RFC 3339 time with an offset or `Z`.

    Raises:
        ValueError: it is not such a time, or has no offset.
    """
    moment = datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    return round(moment.timestamp() * 1_000_000)
