"""Metrics to a collector: the sums that `/metrics` shows, by OpenTelemetry's GenAI conventions, every half minute.

They cost a call nothing beyond being counted: the sums are turned into data points only when they are sent. Labels are
those of `calls.py`, and bounded as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from freehold.telemetry.calls import BOUNDS_S, TOKENS, CallMetrics, Series, Times
from freehold.telemetry.settings import GIVE_UP_S, TelemetrySettings, collector_of

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint, Metric, MetricsData, NumberDataPoint

log = logging.getLogger(__name__)

_OPERATIONS = {"messages": "chat", "count_tokens": "count_tokens"}
Attributes = dict[str, str | bool]


class MetricsExport:
    """Sends what stands in `metrics`. All points are cumulative from the start of this process on."""

    def __init__(
        self, settings: TelemetrySettings, version: str, metrics: CallMetrics, now_ns: Callable[[], int]
    ) -> None:
        """Raises `ImportError` where the extra is not installed."""
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        address, headers = collector_of(settings)
        self._exporter = OTLPMetricExporter(endpoint=f"{address}/v1/metrics", headers=headers, timeout=GIVE_UP_S)
        self._resource = Resource({"service.name": settings.service_name, "service.version": version})
        self._scope = InstrumentationScope("freehold", version)
        self._metrics = metrics
        self._now_ns = now_ns
        self._began_ns = now_ns()

    def snapshot(self) -> MetricsData:
        """All as it stands now; call it where calls are counted."""
        from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics

        made = list(self._made())
        scope = ScopeMetrics(self._scope, made, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])

    def send(self, data: MetricsData) -> None:
        """To the collector; blocks, so call it in a thread. One that is away costs the points of this time only."""
        self._exporter.export(data)

    def close(self) -> None:
        """Let the connection go. Blocks."""
        self._exporter.shutdown()

    def _made(self) -> Iterator[Metric]:
        found = [(_labels(*key), one) for key, one in self._metrics.series.items()]
        yield self._histogram(
            "gen_ai.server.request.duration", "From the request to the end of the answer.", found, _latency
        )
        answered = [(labels, one) for labels, one in found if any(one.first_byte.counts)]
        yield self._histogram("gen_ai.server.time_to_first_token", "To the answer's first byte.", answered, _first_byte)
        yield self._tokens(found)
        calls = [self._number(labels, one.calls) for labels, one in found]
        yield self._sum("freehold.calls", "{call}", "Calls that have ended.", calls)
        attempts = [self._number(labels, one.attempts) for labels, one in found if one.attempts]
        yield self._sum("freehold.call.attempts", "{attempt}", "Attempts at upstreams.", attempts)
        costs = [self._number(labels, one.cost) for labels, one in found if one.cost]
        yield self._sum("freehold.call.cost", "{nanodollar}", "Known cost of answers.", costs)
        by_kind = [
            self._number({**labels, "freehold.token.kind": kind}, count)
            for labels, one in found
            for kind, count in zip(TOKENS, one.tokens, strict=True)
            if count
        ]
        yield self._sum("freehold.call.tokens", "{token}", "Tokens of answers.", by_kind)
        yield self._open()

    def _open(self) -> Metric:
        from opentelemetry.sdk.metrics.export import Gauge, Metric

        now = Gauge([self._number({}, self._metrics.open)])
        return Metric("freehold.calls.open", "Calls that run now.", "{call}", now)

    def _tokens(self, found: list[tuple[Attributes, Series]]) -> Metric:
        """How many answers used how many tokens; no bounds are kept, so each has one bucket."""
        points = [
            self._point({**labels, "gen_ai.token.type": kind}, one.used, total, [one.used], [])
            for labels, one in found
            if one.used
            for kind, total in (("input", sum(one.tokens) - one.tokens[1]), ("output", one.tokens[1]))
        ]
        return self._of_points("gen_ai.client.token.usage", "{token}", "Tokens of an answer.", points)

    def _histogram(
        self, name: str, told: str, found: list[tuple[Attributes, Series]], of: Callable[[Series], Times]
    ) -> Metric:
        points = [
            self._point(labels, sum((times := of(one)).counts), times.sum_us / 1e6, times.counts, BOUNDS_S)
            for labels, one in found
        ]
        return self._of_points(name, "s", told, points)

    def _point(self, labels: Attributes, count: int, total: float, buckets: Any, bounds: Any) -> HistogramDataPoint:
        from opentelemetry.sdk.metrics.export import HistogramDataPoint

        since, now, unknown = self._began_ns, self._now_ns(), cast("float", None)  # least and most are not kept
        return HistogramDataPoint(labels, since, now, count, total, list(buckets), list(bounds), unknown, unknown)

    def _number(self, labels: Mapping[str, str | bool], value: int) -> NumberDataPoint:
        from opentelemetry.sdk.metrics.export import NumberDataPoint

        return NumberDataPoint(dict(labels), self._began_ns, self._now_ns(), value)

    @staticmethod
    def _of_points(name: str, unit: str, told: str, points: list[HistogramDataPoint]) -> Metric:
        from opentelemetry.sdk.metrics.export import AggregationTemporality, Histogram, Metric

        return Metric(name, told, unit, Histogram(points, AggregationTemporality.CUMULATIVE))

    @staticmethod
    def _sum(name: str, unit: str, told: str, points: list[NumberDataPoint]) -> Metric:
        from opentelemetry.sdk.metrics.export import AggregationTemporality, Metric, Sum

        return Metric(name, told, unit, Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True))


def _latency(one: Series) -> Times:
    return one.latency


def _first_byte(one: Series) -> Times:
    return one.first_byte


def _labels(route: str, upstream: str, model: str, status: int, streamed: bool) -> Attributes:
    known: Attributes = {
        "gen_ai.operation.name": _OPERATIONS.get(route, route),
        "gen_ai.provider.name": "anthropic",
        "freehold.streamed": streamed,
        "http.response.status_code": str(status),
    }
    if model:
        known["gen_ai.response.model"] = model
    if upstream:
        known["freehold.upstream"] = upstream
    if status >= 400:
        known["error.type"] = str(status)
    return known
