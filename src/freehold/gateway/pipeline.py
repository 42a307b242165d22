"""The pipeline: what a call passes, in order. This list is the gateway's table of contents.

From the outside in: departures → record → traces → keys → recordings → deadlines → limits → files in messages →
routing → context edits → caching → budgets → fallbacks → retries → attempt meter → the upstream. What is switched off
has no place in the stack, and costs nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from freehold.calls import Handler, Middleware
from freehold.clock import Clock
from freehold.gateway.backoff import RetrySettings
from freehold.gateway.middleware.attempt_meter import AttemptMeter
from freehold.gateway.middleware.budgets import Budgets
from freehold.gateway.middleware.caching import Caching
from freehold.gateway.middleware.context_edits import ContextEdits
from freehold.gateway.middleware.deadlines import Deadlines
from freehold.gateway.middleware.departures import Departures
from freehold.gateway.middleware.fallbacks import Fallbacks, Way
from freehold.gateway.middleware.files import FilesInMessages
from freehold.gateway.middleware.keys import ChecksKeys, KeyCheck
from freehold.gateway.middleware.limits import Limits
from freehold.gateway.middleware.record import Record
from freehold.gateway.middleware.recordings import Recordings
from freehold.gateway.middleware.retries import Retries
from freehold.gateway.middleware.routing import Routing
from freehold.gateway.middleware.traces import Traces
from freehold.gateway.retry_budget import RetryBudget
from freehold.gateway.routes import FallbackSettings, routes_of
from freehold.ledger.rates import Rates
from freehold.store.calls import TakesRows
from freehold.telemetry.calls import CallMetrics
from freehold.upstreams.base import Upstream


@dataclass(frozen=True, slots=True)
class Spares:
    """Further upstreams besides the first one, and when they are asked."""

    upstreams: Sequence[Upstream] = ()
    settings: FallbackSettings = FallbackSettings()  # noqa: RUF009  (frozen)


def build(
    *,
    upstream: Upstream,
    spares: Spares | None = None,
    keys: ChecksKeys,
    store: TakesRows,
    rates: Rates,
    clock: Clock,
    retries: RetrySettings | None = None,
    limits: Limits | None = None,
    budgets: Budgets | None = None,
    files: FilesInMessages | None = None,
    routing: Routing | None = None,
    context_edits: ContextEdits | None = None,
    caching: Caching | None = None,
    metrics: CallMetrics | None = None,
    recordings: Recordings | None = None,
    departures: Departures | None = None,
    traces: Traces | None = None,
    chance: Callable[[], float] = random.random,
) -> Handler:
    """The handler of every call: of the HTTP API, of agents, of batches. `chance` is the jitter's source. Without
    `spares` every call goes to `upstream`, which costs a call nothing. Without
    `limits` and `budgets` nobody is limited; without `files` file ids go to the upstream as they are.
    """
    patient = retries or RetrySettings()
    retry_budgets: dict[str, RetryBudget] = {}

    def way(to: Upstream, settings: RetrySettings, *, hasty: bool = False) -> Handler:
        shared = retry_budgets.setdefault(to.name, RetryBudget(settings.retry_budget, settings.retry_share))
        return _stack(
            [
                Retries(settings, clock, chance, shared, hasty=hasty),
                *([budgets.each_attempt] if budgets else []),
                AttemptMeter(to.name, rates, clock),
            ],
            to,
        )

    def fallbacks(given: Spares) -> Handler:
        most_s = min(patient.retry_wait_max_s, given.settings.fallback_wait_max_s)
        hasty = replace(patient, retry_wait_max_s=most_s)
        everyone = {one.name: one for one in (upstream, *given.upstreams)}
        ways = {name: Way(way(one, patient), way(one, hasty, hasty=True)) for name, one in everyone.items()}
        return Fallbacks(ways, routes_of(given.settings.routes, everyone), given.settings, clock)

    return _stack(
        [
            *([departures] if departures and departures.active else []),
            Record(store, clock, metrics),
            *([traces] if traces else []),
            KeyCheck(keys),
            *([recordings] if recordings and recordings.policy.active else []),
            Deadlines(clock),
            *([limits] if limits and limits.active else []),
            *([files] if files else []),
            *([routing] if routing else []),
            *([context_edits] if context_edits and context_edits.active else []),
            *([caching] if caching and caching.active else []),
            *([budgets] if budgets else []),
        ],
        fallbacks(spares) if spares else way(upstream, patient),
    )


def _stack(middleware: Sequence[Middleware], innermost: Handler) -> Handler:
    handler = innermost
    for layer in reversed(middleware):
        handler = layer(handler)
    return handler
