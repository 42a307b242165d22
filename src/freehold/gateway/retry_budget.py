"""How much one upstream is tried again in all: a bucket that retries empty and answered calls fill. No I/O, no clock.

While an upstream is well the bucket is full, and nobody notices it. When it is sick, every caller would make several
attempts of each call just then; the bucket ends that after a burst, and leaves the upstream a share more of what it
still answers.
"""

from __future__ import annotations


class RetryBudget:
    """`most` retries may follow each other at once (0: no bound); each answered call gives `share` of one back."""

    __slots__ = ("_most", "_share", "level")

    def __init__(self, most: int, share: float) -> None:
        self._most = float(most)
        self._share = share
        self.level = float(most)

    def answered(self) -> None:
        """A call was answered well."""
        if self.level < self._most:
            self.level = min(self._most, self.level + self._share)

    def take(self) -> bool:
        """Whether there may be one more retry; then it counts."""
        if self._most == 0:
            return True
        if self.level < 1:
            return False
        self.level -= 1
        return True
