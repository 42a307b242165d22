"""Counts of Messages calls, kept as plain sums on the hot path and rendered for Prometheus only when somebody looks.

Every label is bounded: what comes from outside (a model's name) is taken as long as there are few, then it is `other`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

L = TypeVar("L", bound=tuple[str, ...])
MOST_MODELS = 100
OTHER = "other"
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0)
_BOUNDS_US = tuple(round(bound * 1e6) for bound in BOUNDS_S)
TOKENS = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")


class Ended(NamedTuple):
    """One call that is over. `tokens` in the order of `TOKENS`; `None` of anything: not known."""

    route: str
    upstream: str
    model: str
    """The one that answered; empty if none has."""
    status: int
    streamed: bool
    attempts: int
    latency_us: int
    first_byte_us: int | None
    tokens: tuple[int | None, ...]
    cost_nanodollars: int | None


class Times:
    """One histogram: counts up to each of `BOUNDS_S` and above the last, and the sum."""

    __slots__ = ("counts", "sum_us")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_us = 0

    def add(self, microseconds: int) -> None:
        """Count one."""
        self.counts[bisect_left(_BOUNDS_US, microseconds)] += 1
        self.sum_us += microseconds

    def join(self, other: Times) -> None:
        """Take in what another has counted."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum_us += other.sum_us

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them: each counts all below its bound."""
        total, found = 0, []
        for bound, count in zip((*BOUNDS_S, None), self.counts, strict=True):
            total += count
            found.append(("+Inf" if bound is None else f"{bound:g}", float(total)))
        return found


class Series:
    """The sums of calls that agree in route, upstream, model, status and form: one look-up a call finds them."""

    __slots__ = ("attempts", "calls", "cost", "first_byte", "latency", "tokens", "used")

    def __init__(self) -> None:
        self.calls = 0
        self.used = 0
        """Calls whose tokens are known."""
        self.attempts = 0
        self.cost = 0
        self.tokens = [0] * len(TOKENS)
        self.latency = Times()
        self.first_byte = Times()


class CallMetrics:
    """All sums since the start of this process."""

    def __init__(self) -> None:
        self.open = 0
        """Calls that are running now."""
        self.open_of_batches = 0
        """Of those: items of message batches."""
        self._models: set[str] = set()
        self.series: dict[tuple[str, str, str, int, bool], Series] = {}
        """By route, upstream, model, status and whether it was streamed."""

    def ended(self, call: Ended) -> None:
        """Count one call."""
        key = (call.route, call.upstream, call.model, call.status, call.streamed)
        found = self.series.get(key)
        if found is None:
            bounded = (call.route, call.upstream, self._bounded(call.model), call.status, call.streamed)
            found = self.series.setdefault(bounded, Series())
        found.calls += 1
        found.attempts += call.attempts
        found.latency.add(call.latency_us)
        if call.first_byte_us is not None:
            found.first_byte.add(call.first_byte_us)
        if call.tokens[0] is not None:
            found.used += 1
            found.tokens = [total + (count or 0) for total, count in zip(found.tokens, call.tokens)]  # noqa: B905
        if call.cost_nanodollars:
            found.cost += call.cost_nanodollars

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        yield GaugeMetricFamily("freehold_calls_open", "Calls that are running now.", value=self.open)
        calls: dict[tuple[str, ...], int] = defaultdict(int)
        attempts: dict[tuple[str, ...], int] = defaultdict(int)
        tokens: dict[tuple[str, ...], int] = defaultdict(int)
        costs: dict[tuple[str, ...], int] = defaultdict(int)
        latency: dict[tuple[str, str], Times] = defaultdict(Times)
        first_byte: dict[tuple[str, str], Times] = defaultdict(Times)
        for (route, upstream, model, status, streamed), sums in self.series.items():
            form = (route, "true" if streamed else "false")
            calls[route, upstream, model, str(status)] += sums.calls
            attempts[upstream,] += sums.attempts
            costs[model,] += sums.cost
            for kind, count in zip(TOKENS, sums.tokens, strict=True):
                tokens[model, kind] += count
            latency[form].join(sums.latency)
            first_byte[form].join(sums.first_byte)
        yield _counter("freehold_calls", "Calls that have ended.", ("route", "upstream", "model", "status"), calls)
        yield _counter("freehold_call_attempts", "Attempts at upstreams, first ones included.", ("upstream",), attempts)
        yield _counter("freehold_call_tokens", "Tokens of answers.", ("model", "kind"), _some(tokens))
        costs = _some(costs)
        yield _counter("freehold_call_cost_nanodollars", "Known cost of answers, in nanodollars.", ("model",), costs)
        yield _histogram("freehold_call_seconds", "From the request to the end of the answer.", latency)
        yield _histogram("freehold_call_first_byte_seconds", "To the answer's first byte.", first_byte)

    def _bounded(self, model: str) -> str:
        if not model or model in self._models:
            return model
        if len(self._models) >= MOST_MODELS:
            return OTHER
        self._models.add(model)
        return model


def _some(sums: Mapping[L, int]) -> dict[L, int]:
    return {labels: total for labels, total in sums.items() if total}


def _counter(name: str, told: str, labels: tuple[str, ...], sums: Mapping[L, int]) -> Metric:
    family = CounterMetricFamily(name, told, labels=labels)
    for values, total in sorted(sums.items()):
        family.add_metric(list(values), total)
    return family


def _histogram(name: str, told: str, times: dict[tuple[str, str], Times]) -> Metric:
    family = HistogramMetricFamily(name, told, labels=("route", "streamed"))
    for values, found in sorted(times.items()):
        family.add_metric(list(values), found.buckets(), found.sum_us / 1e6)
    return family
