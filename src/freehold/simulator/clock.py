"""A clock that can be turned while it runs: the machine's time plus what was added, or standing still."""

from __future__ import annotations

from freehold.clock import Clock, HandClock


class TurnedClock:
    """Runs like the clock below it, ahead by whatever it was turned; once stopped it moves by hand only.

    Turning it does not wake those who sleep while it runs; on a stopped clock `advance` wakes who is due.
    """

    def __init__(self, below: Clock, *, start_us: int | None = None) -> None:
        """`start_us`: what it shows now; `None`: the time of the clock below."""
        self._below = below
        self._ahead_us = 0 if start_us is None else start_us - below.now_us()
        self._hand: HandClock | None = None

    @property
    def stopped(self) -> bool:
        """Whether it moves by hand only."""
        return self._hand is not None

    def now_us(self) -> int:
        """See `Clock`."""
        return self._hand.now_us() if self._hand else self._below.now_us() + self._ahead_us

    def monotonic_ns(self) -> int:
        """See `Clock`."""
        return self._hand.monotonic_ns() if self._hand else self._below.monotonic_ns() + self._ahead_us * 1000

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await (self._hand or self._below).sleep(seconds)

    def stop(self) -> None:
        """Stand still at the time it shows now."""
        if self._hand is None:
            self._hand = HandClock(self.now_us())

    async def advance(self, seconds: float) -> None:
        """Turn it forward."""
        if self._hand:
            await self._hand.advance(seconds)
        else:
            self._ahead_us += round(seconds * 1_000_000)
