"""A circuit breaker: an upstream that keeps failing is left alone for a while, then asked once. No I/O, no clock.

Closed: calls go. After so many failures in a row it opens: no call goes until the cool-down is over. Then it is half
open: one call goes as a probe, and its outcome closes or opens it again.
"""

from __future__ import annotations


class Breaker:
    """Of one upstream. Times are nanoseconds of the monotonic clock. Every `enter` is followed by one of the three
    outcomes.
    """

    __slots__ = ("_cool_down_ns", "_failures", "_in_a_row", "_open_until_ns", "_probing")

    def __init__(self, failures: int, cool_down_s: float) -> None:
        self._failures = failures
        self._cool_down_ns = round(cool_down_s * 1e9)
        self._in_a_row = 0
        self._open_until_ns: int | None = None
        self._probing = False

    def admits(self, now_ns: int) -> bool:
        """Whether a call may go now."""
        return self._open_until_ns is None or (now_ns >= self._open_until_ns and not self._probing)

    def left_s(self, now_ns: int) -> float:
        """How long until it may be asked again."""
        return max(0.0, ((self._open_until_ns or 0) - now_ns) / 1e9)

    def enter(self) -> None:
        """A call goes."""
        self._probing = self._open_until_ns is not None

    def succeeded(self) -> None:
        """It was answered."""
        self._in_a_row = 0
        self._open_until_ns = None
        self._probing = False

    def failed(self, now_ns: int) -> None:
        """The upstream failed. (Calls that had begun before it opened may fail later: they only prolong it.)"""
        self._in_a_row += 1
        self._probing = False
        if self._in_a_row >= self._failures:
            self._open_until_ns = now_ns + self._cool_down_ns

    def told_nothing(self) -> None:
        """The client left, or the call could not be made: that says nothing of the upstream."""
        self._probing = False
