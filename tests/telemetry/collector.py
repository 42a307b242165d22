"""A collector as OpenTelemetry's are: takes OTLP over HTTP in protobuf, and shows what came."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

PATIENCE_S = 30


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


class Collected:
    """What has come so far."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Seen] = []
        self.headers: list[Mapping[str, str]] = []
        self.bodies: list[bytes] = []

    def wait(self, name: str, count: int = 1) -> list[Seen]:
        """The spans whose name begins so, once there are that many."""
        ends = time.monotonic() + PATIENCE_S
        while len(found := [span for span in self.spans if span.name.startswith(name)]) < count:
            assert time.monotonic() < ends, f"{name!r} is not among {[span.name for span in self.spans]}"
            threading.Event().wait(0.05)
        return found


@contextmanager
def collecting() -> Iterator[Collected]:
    """A collector on a free port."""
    collected = Collected()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            collected.headers.append({name.lower(): value for name, value in self.headers.items()})
            collected.bodies.append(body)
            collected.spans += list(_spans(ExportTraceServiceRequest.FromString(body)))
            answer = ExportTraceServiceResponse().SerializeToString()
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
        service = next(a.value.string_value for a in of_resource.resource.attributes if a.key == "service.name")
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


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
