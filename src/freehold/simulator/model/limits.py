"""Rate limits as token buckets per workspace and model, with the headers and the 429 that go with them.

Claude API docs, page "Rate limits", read 2026-11-23: buckets refill continuously, cache reads do not count as input,
output counts as it is really generated. Times are microseconds and come from the caller.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from freehold.clock import rfc3339
from freehold.errors import InvalidRequest, RateLimited
from freehold.simulator.model.catalog import Model
from freehold.simulator.model.request import Request

_MINUTE_US = 60_000_000
_MOST_SCOPES = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Per minute, workspace and model. The defaults are those of the first paid tier for most models."""

    requests: int = 1_000
    input_tokens: int = 2_000_000
    output_tokens: int = 400_000
    count_requests: int = 2_000
    """Of `count_tokens`, which has a limit of its own."""


TIERS = {
    "start": Limits(),
    "build": Limits(5_000, 5_000_000, 1_000_000, 4_000),
    "scale": Limits(10_000, 10_000_000, 2_000_000, 8_000),
}


class _Bucket:
    __slots__ = ("at_us", "capacity", "level")

    def __init__(self, capacity: int, now_us: int) -> None:
        self.capacity = capacity
        self.level = float(capacity)
        self.at_us = now_us

    def refill(self, now_us: int) -> float:
        passed = max(0, now_us - self.at_us)
        self.level = min(float(self.capacity), self.level + passed * self.capacity / _MINUTE_US)
        self.at_us = max(self.at_us, now_us)
        return self.level

    def wait_us(self, needed: float) -> int:
        """How long until so much is in it."""
        return max(0, round((needed - self.level) * _MINUTE_US / self.capacity))

    def header(self, name: str, now_us: int, *, round_to: int) -> list[tuple[bytes, bytes]]:
        level = max(0, int(self.level))
        remaining = (level + round_to // 2) // round_to * round_to if level < self.capacity else self.capacity
        whole_second = -(-(now_us + self.wait_us(self.capacity)) // 1_000_000) * 1_000_000
        reset = rfc3339(whole_second)[:19] + "Z"
        prefix = f"anthropic-ratelimit-{name}"
        return [
            (f"{prefix}-limit".encode(), str(self.capacity).encode()),
            (f"{prefix}-remaining".encode(), str(min(remaining, self.capacity)).encode()),
            (f"{prefix}-reset".encode(), reset.encode()),
        ]


class _Buckets:
    __slots__ = ("counts", "input", "output", "requests")

    def __init__(self, limits: Limits, now_us: int) -> None:
        self.requests = _Bucket(limits.requests, now_us)
        self.input = _Bucket(limits.input_tokens, now_us)
        self.output = _Bucket(limits.output_tokens, now_us)
        self.counts = _Bucket(limits.count_requests, now_us)


class RateLimits:
    """The buckets of every workspace and model seen."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._scopes: OrderedDict[tuple[str, str], _Buckets] = OrderedDict()

    def _of(self, scope: str, model: Model, now_us: int) -> _Buckets:
        key = (scope, model.id)
        buckets = self._scopes.get(key)
        if buckets is None:
            buckets = self._scopes[key] = _Buckets(self._limits, now_us)
            if len(self._scopes) > _MOST_SCOPES:
                self._scopes.popitem(last=False)
        self._scopes.move_to_end(key)
        for bucket in (buckets.requests, buckets.input, buckets.output, buckets.counts):
            bucket.refill(now_us)
        return buckets

    def admit(self, scope: str, model: Model, input_tokens: int, now_us: int) -> None:
        """Let a request in and take its input, cache reads left out.

        Raises:
            RateLimited: with `retry-after` and the limit headers.
        """
        buckets = self._of(scope, model, now_us)
        for bucket, needed, name in (
            (buckets.requests, 1, "requests"),
            (buckets.input, input_tokens, "input tokens"),
            (buckets.output, 1, "output tokens"),
        ):
            if bucket.level < needed:
                raise self._refusal(bucket, needed, name, model, scope, now_us)
        buckets.requests.level -= 1
        buckets.input.level -= input_tokens

    def admit_count(self, scope: str, model: Model, now_us: int) -> None:
        """The same for `count_tokens`, which costs nothing but a request of its own limit."""
        bucket = self._of(scope, model, now_us).counts
        if bucket.level < 1:
            raise self._refusal(bucket, 1, "token count requests", model, scope, now_us)
        bucket.level -= 1

    def spend_output(self, scope: str, model: Model, output_tokens: int, now_us: int) -> None:
        """Take the output that was really generated; the bucket may go below zero."""
        self._of(scope, model, now_us).output.level -= output_tokens

    def headers(self, scope: str, model: Model, now_us: int) -> list[tuple[bytes, bytes]]:
        """The `anthropic-ratelimit-*` headers of an answer; `tokens-*` is the one that is nearer to its end."""
        buckets = self._of(scope, model, now_us)
        nearer = min((buckets.input, buckets.output), key=lambda bucket: bucket.level / bucket.capacity)
        return [
            *buckets.requests.header("requests", now_us, round_to=1),
            *buckets.input.header("input-tokens", now_us, round_to=1000),
            *buckets.output.header("output-tokens", now_us, round_to=1000),
            *nearer.header("tokens", now_us, round_to=1000),
        ]

    def _refusal(self, bucket: _Bucket, needed: float, name: str, model: Model, scope: str, now_us: int) -> RateLimited:
        wait_s = -(-bucket.wait_us(min(needed, bucket.capacity)) // 1_000_000)
        headers = {key.decode(): value.decode() for key, value in self.headers(scope, model, now_us)}
        return RateLimited(
            f"This request would exceed the rate limit for your organization of {bucket.capacity:,} {name} per minute "
            f"(model: {model.id}). Retry after {max(1, wait_s)} s, or lower the prompt length or max_tokens.",
            headers={"retry-after": str(max(1, wait_s)), **headers},
        )


def check_context(request: Request, input_tokens: int) -> int:
    """How many tokens may be generated: `max_tokens`, or what is left of the context window.

    Raises:
        InvalidRequest: the prompt alone is longer than the window.
    """
    window = request.model.context
    if input_tokens > window:
        raise InvalidRequest(f"prompt is too long: {input_tokens} tokens > {window} maximum")
    return min(request.max_tokens, window - input_tokens)
