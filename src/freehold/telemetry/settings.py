"""Settings of traces and logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from freehold.config import setting


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """What is told to whoever watches the server. Metrics need no setting: they stand at `/metrics`."""

    otlp_url: str | None = setting(
        None,
        "Base address of an OpenTelemetry collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; left "
        "out, there are no traces.",
    )
    otlp_headers: str | None = setting(
        None, "Headers for the collector, `name=value,name=value`: what its maker asks for.", secret=True
    )
    trace_share: float = setting(
        0.01, "Share of the calls and sessions that are traced, unless a caller's `traceparent` decides.", least=0
    )
    service_name: str = setting("freehold", "What this server is called in traces.")
    log_format: Literal["text", "json"] = setting("text", "How log lines look: for people, or one JSON object each.")
