"""A collector as OpenTelemetry's are: takes traces, metrics and logs as OTLP over HTTP."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

PATIENCE_S = 120


@dataclass(frozen=True, slots=True)
class Seen:
    """One span, as it came over the wire."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    failed: bool
    service: str


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its unit, and its points by their attributes: a value, or count, sum and buckets."""

    unit: str
    points: Mapping[frozenset[tuple[str, Any]], Any]
    cumulative: bool

    def total(self, **wanted: Any) -> Any:
        """The sum of the points that have those attributes (`_` for `.`)."""
        named = {name.replace("__", "."): value for name, value in wanted.items()}
        found = [value for labels, value in self.points.items() if named.items() <= dict(labels).items()]
        return sum(value[0] if isinstance(value, tuple) else value for value in found)


@dataclass(frozen=True, slots=True)
class Line:
    """One log record."""

    severity: str
    body: str
    attributes: Mapping[str, Any]
    logger: str
    service: str


class Collected:
    """What has come so far."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Seen] = []
        self.metrics: dict[str, Metric] = {}
        """The last of each name."""
        self.logs: list[Line] = []
        self.headers: list[Mapping[str, str]] = []
        self.bodies: list[bytes] = []

    def wait(self, name: str, count: int = 1) -> list[Seen]:
        """The spans whose name begins so, once there are that many."""
        ends = time.monotonic() + PATIENCE_S
        while len(found := [span for span in self.spans if span.name.startswith(name)]) < count:
            assert time.monotonic() < ends, f"{name!r} is not among {[span.name for span in self.spans]}"
            threading.Event().wait(0.05)
        return found

    def until(self, holds: Callable[[Collected], object]) -> None:
        """Return once it holds."""
        ends = time.monotonic() + PATIENCE_S
        while not holds(self):
            assert time.monotonic() < ends, f"never came: {sorted(self.metrics)}, {self.logs}"
            threading.Event().wait(0.05)


@contextmanager
def collecting() -> Iterator[Collected]:
    """A collector on a free port."""
    collected = Collected()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            taken, answered = _TAKES[self.path]
            collected.headers.append({name.lower(): value for name, value in self.headers.items()})
            collected.bodies.append(body)
            taken(collected, body)
            answer = answered().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collected.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collected
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _spans(request: Any) -> Iterator[Seen]:
    for of_resource in request.resource_spans:
        service = _of(of_resource.resource)
        for scope in of_resource.scope_spans:
            for span in scope.spans:
                yield Seen(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.kind,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    {attribute.key: _value(attribute.value) for attribute in span.attributes},
                    span.status.code == 2,
                    service,
                )


def _of(resource: Any) -> str:
    return next(str(a.value.string_value) for a in resource.attributes if a.key == "service.name")


def _named(attributes: Any) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def seen(body: bytes) -> list[Seen]:
    """The spans of a request, read by OpenTelemetry's own classes."""
    return list(_spans(ExportTraceServiceRequest.FromString(body)))


def _take_spans(collected: Collected, body: bytes) -> None:
    collected.spans += seen(body)


def _take_metrics(collected: Collected, body: bytes) -> None:
    for of_resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for metric in (metric for scope in of_resource.scope_metrics for metric in scope.metrics):
            data = getattr(metric, metric.WhichOneof("data"))
            points = {frozenset(_named(one.attributes).items()): _point(one) for one in data.data_points}
            cumulative = getattr(data, "aggregation_temporality", 0) == 2
            collected.metrics[metric.name] = Metric(metric.unit, points, cumulative)


def _point(one: Any) -> Any:
    if not hasattr(one, "bucket_counts"):
        return one.as_int
    return one.count, one.sum, list(one.bucket_counts), list(one.explicit_bounds)


def _take_logs(collected: Collected, body: bytes) -> None:
    for of_resource in ExportLogsServiceRequest.FromString(body).resource_logs:
        for scope in of_resource.scope_logs:
            collected.logs += [
                Line(
                    one.severity_text,
                    one.body.string_value,
                    _named(one.attributes),
                    scope.scope.name,
                    _of(of_resource.resource),
                )
                for one in scope.log_records
            ]


_TAKES: Mapping[str, tuple[Callable[[Collected, bytes], None], Any]] = {
    "/v1/traces": (_take_spans, ExportTraceServiceResponse),
    "/v1/metrics": (_take_metrics, ExportMetricsServiceResponse),
    "/v1/logs": (_take_logs, ExportLogsServiceResponse),
}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
