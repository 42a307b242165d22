"""Guessing keys on a page is slow: wrong ones are counted by address. Kept in memory; a restart forgets."""

from __future__ import annotations

from collections import OrderedDict

from freehold.clock import Clock

_FREE_TRIES = 5
_LONGEST_WAIT_S = 300
_MOST_ADDRESSES = 10_000


class Tries:
    """Wrong keys by address: the first five are free, then each one doubles the wait, up to five minutes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def wait_s(self, address: str) -> int:
        """How long this address has to wait before its next try; 0: not at all."""
        _, until_us = self._wrong.get(address, (0, 0))
        return max(0, -(-(until_us - self._clock.now_us()) // 1_000_000))

    def wrong(self, address: str) -> None:
        """A key that opened nothing."""
        count = self._wrong.pop(address, (0, 0))[0] + 1
        over = count - _FREE_TRIES
        wait_s = min(_LONGEST_WAIT_S, 2 ** min(over, 20)) if over >= 0 else 0
        self._wrong[address] = count, self._clock.now_us() + wait_s * 1_000_000
        while len(self._wrong) > _MOST_ADDRESSES:
            self._wrong.popitem(last=False)

    def right(self, address: str) -> None:
        """A key that opened: the address is trusted again."""
        self._wrong.pop(address, None)
