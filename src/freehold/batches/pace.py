"""How many calls of batches may be open at once: more while all goes well, half when the upstream says stop.

Fed with every answer's status and headers. A fifth of each rate limit is left to interactive calls, and each of those
that is open takes the place of one of ours. Arithmetic and a clock; no I/O.
"""

from __future__ import annotations

from collections.abc import Callable

from freehold.calls import Headers
from freehold.clock import Clock, parse_rfc3339
from freehold.wire.headers import RATE_LIMIT_PREFIX, retry_after_s

START = 8.0
RESERVED = 0.2
"""The share of each rate limit that is left to interactive calls."""
LONGEST_HOLD_S = 60.0
_BACK_OFF_S = 1.0
"""After a refusal without `retry-after`; and refusals within it count once."""
_KINDS = (b"requests", b"input-tokens", b"output-tokens", b"tokens")


class Pace:
    """The limit and when it is zero. `interactive` tells how many other calls are open here."""

    def __init__(self, most: int, clock: Clock, interactive: Callable[[], int]) -> None:
        self._most = float(max(1, most))
        self._clock = clock
        self._interactive = interactive
        self._limit = min(START, self._most)
        self._slow_from = self._most
        """Below it every success adds one, above it one per round."""
        self._held_until_us = 0
        self._halved_us = 0

    @property
    def limit(self) -> int:
        """What may be open now, were no other calls."""
        return int(self._limit)

    def allowed(self) -> int:
        """How many of ours may be open now."""
        if self.held_s() > 0:
            return 0
        return max(1, int(self._limit) - self._interactive())

    def held_s(self) -> float:
        """How long nothing new may be begun; 0: it may."""
        return max(0, self._held_until_us - self._clock.now_us()) / 1_000_000

    def heard(self, status: int, headers: Headers) -> None:
        """An answer came."""
        if status in (429, 529):
            self._refused(headers)
            return
        if status < 400:
            self._limit = min(self._most, self._limit + (1.0 if self._limit < self._slow_from else 1.0 / self._limit))
        for name, _ in headers:
            if name.startswith(RATE_LIMIT_PREFIX) and name.endswith(b"-remaining"):
                self._keep_reserve(dict(headers))
                return

    def _refused(self, headers: Headers) -> None:
        now_us = self._clock.now_us()
        wait_s = min(LONGEST_HOLD_S, retry_after_s(headers, now_us) or _BACK_OFF_S)
        self._hold(wait_s)
        if now_us - self._halved_us >= _BACK_OFF_S * 1_000_000:
            self._halved_us = now_us
            self._limit = self._slow_from = max(1.0, self._limit / 2)

    def _keep_reserve(self, headers: dict[bytes, bytes]) -> None:
        for kind in _KINDS:
            limit, remaining = (
                _number(headers.get(RATE_LIMIT_PREFIX + kind + end)) for end in (b"-limit", b"-remaining")
            )
            if limit and remaining is not None and remaining < RESERVED * limit:
                left = remaining / limit
                self._hold(self._until_reset_s(headers.get(RATE_LIMIT_PREFIX + kind + b"-reset")) * (RESERVED - left))

    def _until_reset_s(self, reset: bytes | None) -> float:
        try:
            return max(0.0, (parse_rfc3339((reset or b"").decode("latin-1")) - self._clock.now_us()) / 1_000_000)
        except ValueError:
            return _BACK_OFF_S

    def _hold(self, seconds: float) -> None:
        until_us = self._clock.now_us() + round(min(LONGEST_HOLD_S, seconds) * 1_000_000)
        self._held_until_us = max(self._held_until_us, until_us)


def _number(text: bytes | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
