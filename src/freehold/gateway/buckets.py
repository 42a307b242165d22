"""Limits per minute as buckets that refill all the time, as Claude's do. Arithmetic: times come from the caller.

Claude API docs, page "Rate limits", read 2026-11-23: cache reads do not count as input, output counts as it is really
generated.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from freehold.calls import Headers
from freehold.clock import rfc3339

_MINUTE_S = 60.0
_MINUTE_NS = 60_000_000_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one key or workspace may use. 0 means no limit."""

    requests_per_minute: int = 0
    input_tokens_per_minute: int = 0
    output_tokens_per_minute: int = 0
    concurrency: int = 0

    @property
    def limits_something(self) -> bool:
        """Whether it has to be looked at."""
        return any((self.requests_per_minute, self.input_tokens_per_minute, self.output_tokens_per_minute)) or (
            self.concurrency > 0
        )


@dataclass(frozen=True, slots=True)
class Lack:
    """Why a call cannot go now. `wait_s` is when it could; `None`: when another call has ended."""

    what: str
    wait_s: float | None


class Bucket:
    """So many per minute. It may be taken below zero by what is only known afterwards; then it has to recover."""

    __slots__ = ("_at_ns", "capacity", "level")

    def __init__(self, capacity: int, now_ns: int) -> None:
        self.capacity = capacity
        self.level = float(capacity)
        self._at_ns = now_ns

    def refill(self, now_ns: int) -> None:
        """Bring it up to this moment."""
        level = self.level + (now_ns - self._at_ns) * self.capacity / _MINUTE_NS
        self.level = level if level < self.capacity else float(self.capacity)
        self._at_ns = now_ns

    def wait_s(self, needed: float) -> float:
        """How long until so much is in it; more than it can hold is never waited for."""
        return max(0.0, (min(needed, self.capacity) - self.level) * _MINUTE_S / self.capacity)


class Scope:
    """The buckets of one key or one workspace, and how many of its calls are open."""

    __slots__ = ("_buckets", "_input", "_most_open", "_open", "_output", "_requests", "name")

    def __init__(self, name: str, allowed: Allowance, now_ns: int) -> None:
        self.name = name
        self._requests: Bucket | None = None
        self._input: Bucket | None = None
        self._output: Bucket | None = None
        self._open = 0
        self.allow(allowed, now_ns)

    def allow(self, allowed: Allowance, now_ns: int) -> None:
        """From now on so much; what a bucket holds stays in it, as far as it still fits."""
        self._requests = _resized(self._requests, allowed.requests_per_minute, now_ns)
        self._input = _resized(self._input, allowed.input_tokens_per_minute, now_ns)
        self._output = _resized(self._output, allowed.output_tokens_per_minute, now_ns)
        named = (("requests", self._requests), ("input-tokens", self._input), ("output-tokens", self._output))
        self._buckets = [(kind, bucket) for kind, bucket in named if bucket is not None]
        self._most_open = allowed.concurrency

    def has_room(self, input_tokens: int, now_ns: int) -> bool:
        """Whether a call with about so much input may go now."""
        room = not self._most_open or self._open < self._most_open
        for _, bucket in self._buckets:
            bucket.refill(now_ns)
            needed = 1 if bucket is not self._input else min(input_tokens, bucket.capacity)
            if bucket.level < needed:
                room = False
        return room

    def lack(self, input_tokens: int) -> Lack:
        """What such a call lacks for longest, where there was no room for it a moment ago."""
        worst = Lack(f"{self._most_open:,} calls at a time", None)
        for kind, bucket in self._buckets:
            needed = min(input_tokens, bucket.capacity) if bucket is self._input else 1
            if bucket.level < needed and bucket.wait_s(needed) > (worst.wait_s or 0):
                worst = Lack(f"{bucket.capacity:,} {kind.replace('-', ' ')} per minute", bucket.wait_s(needed))
        return Lack(f"{worst.what} of this {self.name}", worst.wait_s)

    def take(self, input_tokens: int) -> None:
        """A call begins."""
        self._open += 1
        if self._requests is not None:
            self._requests.level -= 1
        if self._input is not None:
            self._input.level -= min(input_tokens, self._input.capacity)

    def settle(self, estimated: int, used_input: int, used_output: int) -> None:
        """It is over; now it is known what it has used."""
        self._open -= 1
        if self._input is not None:
            self._input.level += min(estimated, self._input.capacity) - used_input
        if self._output is not None:
            self._output.level -= used_output

    def tell(self, told: dict[str, Bucket]) -> None:
        """Add the buckets to `told`, where they have less left than those that are there."""
        for kind, bucket in self._buckets:
            other = told.get(kind)
            if other is None or bucket.level < other.level:
                told[kind] = bucket


_NAMES = {
    kind: tuple(f"anthropic-ratelimit-{kind}-{what}".encode() for what in ("limit", "remaining", "reset"))
    for kind in ("requests", "input-tokens", "output-tokens")
}


def headers_of(told: dict[str, Bucket], now_us: int) -> Headers:
    """`anthropic-ratelimit-…-{limit,remaining,reset}`: `reset` is when the bucket is full again, in whole seconds."""
    headers: Headers = []
    for kind, bucket in told.items():
        limit, remaining, reset = _NAMES[kind]
        full_s = -(-(now_us + round(bucket.wait_s(bucket.capacity) * 1e6)) // 1_000_000)
        headers += (
            (limit, b"%d" % bucket.capacity),
            (remaining, b"%d" % max(0, int(bucket.level))),
            (reset, _second(full_s)),
        )
    return headers


@functools.lru_cache(maxsize=64)
def _second(since_1970: int) -> bytes:
    return (rfc3339(since_1970 * 1_000_000)[:19] + "Z").encode()


def _resized(bucket: Bucket | None, capacity: int, now_ns: int) -> Bucket | None:
    if not capacity:
        return None
    if bucket is None:
        return Bucket(capacity, now_ns)
    bucket.refill(now_ns)
    bucket.capacity = capacity
    bucket.level = min(bucket.level, float(capacity))
    return bucket
