"""Settings of what is sent to a collector, and of log lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from freehold.config import setting

GIVE_UP_S = 3.0
"""A collector that does not answer in so long is away: a server that stops does not wait for it any longer."""


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """What is told to whoever watches the server. Metrics need no setting: they stand at `/metrics`."""

    otlp_url: str | None = setting(
        None,
        "Base address of an OpenTelemetry collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; left "
        "out, nothing is sent.",
    )
    otlp_headers: str | None = setting(
        None, "Headers for the collector, `name=value,name=value`: what its maker asks for.", secret=True
    )
    trace_share: float = setting(
        0.01, "Share of the calls and sessions that are traced, unless a caller's `traceparent` decides.", least=0
    )
    otlp_metrics_s: float = setting(30.0, "How often the collector is sent metrics; 0: never.", unit="s", least=0)
    otlp_logs: bool = setting(True, "The collector is sent log lines, too.")
    service_name: str = setting("freehold", "What the collector knows this server by.")
    log_format: Literal["text", "json"] = setting("text", "How log lines look: for people, or one JSON object each.")


def collector_of(settings: TelemetrySettings) -> tuple[str, Mapping[str, str]]:
    """The collector's base address, and the headers that it wants."""
    return (settings.otlp_url or "").rstrip("/"), headers_of(settings.otlp_headers)


def headers_of(text: str | None) -> Mapping[str, str]:
    """`a=b,c=d` as headers."""
    pairs = (pair.partition("=") for pair in (text or "").split(",") if pair.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}
