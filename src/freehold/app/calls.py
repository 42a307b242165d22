"""Makes the ledger and the pipeline: what a Messages call passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from freehold.access.keys import Keys
from freehold.app.choosing import Choosing
from freehold.app.ground import Ground
from freehold.app.library import Library
from freehold.app.settings import UpstreamSettings
from freehold.app.telemetry import make_exports
from freehold.app.upstreams import spares
from freehold.calls import Handler
from freehold.config import Configuration
from freehold.gateway import pipeline
from freehold.gateway.backoff import RetrySettings
from freehold.gateway.middleware.budgets import Budgets as BudgetsMiddleware
from freehold.gateway.middleware.departures import Departures, DepartureSettings
from freehold.gateway.middleware.files import FilesInMessages
from freehold.gateway.middleware.limits import Limits, LimitSettings
from freehold.gateway.middleware.recordings import Recordings
from freehold.gateway.middleware.traces import Traces
from freehold.gateway.recorder import Recorder
from freehold.gateway.recording import Policy, RecordSettings
from freehold.ledger.bounds import Bounds
from freehold.ledger.ledger import Hook, Ledger, LedgerSettings
from freehold.library.message_files import MessageFiles
from freehold.store.recordings import RecordingRows
from freehold.telemetry.calls import CallMetrics
from freehold.telemetry.exports import Exports
from freehold.telemetry.otlp import Collector
from freehold.telemetry.settings import TelemetrySettings
from freehold.upstreams.base import Upstream


async def make_ledger(ground: Ground, alerts: Hook) -> Ledger:
    """The ledger of this process."""
    return await Ledger.open(
        ground.store,
        clock=ground.clock,
        ids=ground.ids,
        folder=ground.data / "ledger",
        settings=ground.configuration.section(LedgerSettings),
        hook=alerts,
    )


@dataclass(frozen=True, slots=True)
class Lasting:
    """What of the pipeline outlives a new configuration: what it has counted, written down, or still has open."""

    limits: Limits
    recorder: Recorder
    departures: Departures
    exports: Exports | None
    """`None`: no collector is told anything."""

    @classmethod
    def of(cls, ground: Ground, measured: CallMetrics) -> Lasting:
        """Made once, at the start."""
        chosen, clock = ground.configuration.section, ground.clock
        recorder = Recorder(RecordingRows(ground.store), chosen(RecordSettings), clock)
        departures = Departures(chosen(DepartureSettings))
        return cls(Limits(chosen(LimitSettings), clock), recorder, departures, make_exports(ground, measured))

    def renew(self, fresh: Configuration) -> None:
        """From now on by these settings. Raises `Misconfigured`."""
        self.departures.renew(fresh.section(DepartureSettings))
        self.limits.renew(fresh.section(LimitSettings))
        self.recorder.settings = fresh.section(RecordSettings)

    async def close(self) -> None:
        """Cut what is still drained, write what waits."""
        await self.departures.close()
        await self.recorder.flush()
        if self.exports is not None:
            await self.exports.close()

    @property
    def collector(self) -> Collector | None:
        """Who takes spans; `None`: nothing is traced."""
        return None if self.exports is None else self.exports.spans


def make_pipeline(
    ground: Ground,
    upstreams: Sequence[Upstream],
    keys: Keys,
    ledger: Ledger,
    library: Library,
    measured: CallMetrics,
    lasting: Lasting,
    choosing: Choosing,
) -> Handler:
    """The handler of every call; the first of `upstreams` answers, the others are fallen back on."""
    configuration, (upstream, *others) = ground.configuration, upstreams
    return pipeline.build(
        upstream=upstream,
        spares=spares(configuration, others),
        keys=keys,
        store=ground.store,
        rates=ground.rates,
        clock=ground.clock,
        retries=configuration.section(RetrySettings),
        metrics=measured,
        traces=_traces(ground, lasting.collector),
        limits=lasting.limits,
        recordings=_recordings(ground, lasting.recorder),
        departures=lasting.departures,
        budgets=_paying(ground, ledger),
        routing=choosing.routing,
        context_edits=choosing.context_edits,
        caching=choosing.caching,
        files=FilesInMessages(MessageFiles(library.files), knows_files=upstream.name == "claude"),
    )


def _traces(ground: Ground, collector: Collector | None) -> Traces | None:
    share = ground.configuration.section(TelemetrySettings).trace_share
    return None if collector is None else Traces(collector, share, ground.clock)


def _recordings(ground: Ground, recorder: Recorder) -> Recordings:
    settings = ground.configuration.section(RecordSettings)
    return Recordings(Policy(settings), recorder, ground.clock, most_bytes=settings.record_call_bytes)


def _paying(ground: Ground, ledger: Ledger) -> BudgetsMiddleware:
    aliases = ground.configuration.section(UpstreamSettings).model_aliases
    assume_us = ground.configuration.section(LedgerSettings).bounds_assume_us
    bounds = Bounds(ground.rates, aliases=aliases, assume_us=assume_us)
    return BudgetsMiddleware(ledger, bounds, ground.rates, ground.clock)
