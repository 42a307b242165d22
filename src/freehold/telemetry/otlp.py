"""Spans to a collector, by OpenTelemetry's own exporter: in batches, in a thread, given up when the collector is away.

An extra: `pip install 'freehold[otlp]'`. The exporter opens its own connection, as database drivers do.
"""

from __future__ import annotations

from collections.abc import Mapping

from freehold.telemetry.settings import TelemetrySettings
from freehold.telemetry.spans import Place, Span

_KINDS = {"server": 1, "client": 2, "internal": 0}
_WAITING = 8192
"""Spans that may wait for the collector; what comes while it is away is dropped."""


class Collector:
    """Takes spans, sends them when there are enough or every two seconds. `close` sends what is left."""

    def __init__(self, settings: TelemetrySettings, version: str) -> None:
        """Raises `ImportError` where the extra is not installed."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._resource = Resource({"service.name": settings.service_name, "service.version": version})
        self._scope = InstrumentationScope("freehold", version)
        exporter = OTLPSpanExporter(
            endpoint=f"{(settings.otlp_url or '').rstrip('/')}/v1/traces", headers=headers_of(settings.otlp_headers)
        )
        self._processor = BatchSpanProcessor(exporter, max_queue_size=_WAITING, schedule_delay_millis=2000)

    def __call__(self, span: Span) -> None:
        """See `TakesSpans`; about 20 µs, never waits."""
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.status import Status, StatusCode

        attributes = {**span.attributes, **({"error.type": span.error} if span.error else {})}
        self._processor.on_end(
            ReadableSpan(
                name=span.name,
                context=_context(span.place),
                parent=None if span.parent is None else _context(span.parent),
                resource=self._resource,
                attributes=attributes,
                kind=SpanKind(_KINDS[span.kind]),
                status=Status(StatusCode.ERROR if span.error else StatusCode.UNSET),
                start_time=span.start_ns,
                end_time=span.end_ns,
                instrumentation_scope=self._scope,
            )
        )

    def close(self) -> None:
        """Send what waits, for a few seconds at most. Blocks."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]


def headers_of(text: str | None) -> Mapping[str, str]:
    """`a=b,c=d` as headers."""
    pairs = (pair.partition("=") for pair in (text or "").split(",") if pair.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _context(place: Place):  # type: ignore[no-untyped-def]
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(place.trace_id, place.span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
