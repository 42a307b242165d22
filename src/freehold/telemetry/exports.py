"""All that is told to a collector: spans as they end, log lines, and the metrics every half minute."""

from __future__ import annotations

import asyncio
import logging

from freehold.clock import Clock
from freehold.telemetry.calls import CallMetrics
from freehold.telemetry.otlp import Collector, Post
from freehold.telemetry.otlp_logs import LogsExport
from freehold.telemetry.otlp_metrics import MetricsExport
from freehold.telemetry.settings import TelemetrySettings

log = logging.getLogger(__name__)


class Exports:
    """Begins with the server, ends with it. Raises `ImportError` where the extra is not installed."""

    def __init__(
        self, settings: TelemetrySettings, version: str, metrics: CallMetrics, clock: Clock, post: Post
    ) -> None:
        resource = {"service.name": settings.service_name, "service.version": version}
        self.spans = Collector(post, resource, version)
        self._clock = clock
        self._every_s = settings.otlp_metrics_s
        self._metrics = MetricsExport(settings, version, metrics, lambda: clock.now_us() * 1000)
        self._logs = LogsExport(settings, version) if settings.otlp_logs else None
        if self._logs is not None:
            logging.getLogger().addHandler(self._logs)

    async def run(self) -> None:
        """Send spans and metrics, for ever."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self.spans.run())
            both.create_task(self._send_metrics())

    async def _send_metrics(self) -> None:
        while self._every_s:
            await self._clock.sleep(self._every_s)
            await self._send()

    async def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        waiting = [self.spans.close()]
        if self._logs is not None:
            logging.getLogger().removeHandler(self._logs)
            waiting.append(asyncio.to_thread(self._logs.close))
        await asyncio.gather(*waiting, *([self._send()] if self._every_s else []))
        await asyncio.to_thread(self._metrics.close)

    async def _send(self) -> None:
        try:
            await asyncio.to_thread(self._metrics.send, self._metrics.snapshot())
        except Exception:  # the outer edge of a job
            log.exception("metrics were not sent; the next are")
