"""Makes what tells of calls and sessions to a collector, where one is named."""

from __future__ import annotations

from freehold import __version__
from freehold.app.ground import Ground
from freehold.errors import Misconfigured
from freehold.telemetry.otlp import Collector
from freehold.telemetry.settings import TelemetrySettings


def make_collector(ground: Ground) -> Collector | None:
    """`None` where no collector is named. Raises `Misconfigured` where the extra is missing."""
    settings = ground.configuration.section(TelemetrySettings)
    if settings.otlp_url is None:
        return None
    try:
        return Collector(settings, __version__)
    except ImportError as error:
        raise Misconfigured("otlp_url needs the extra `otlp`: pip install 'freehold[otlp]'") from error
