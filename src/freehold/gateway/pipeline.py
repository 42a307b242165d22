"""The pipeline: what a call passes, in order. This list is the gateway's table of contents.

From the outside in: record → keys → limits → files in messages → routing → caching → budgets → fallbacks → retries →
attempt meter → the upstream. What is not built yet has no line here; it will stand in this place of the order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from freehold.calls import Handler, Middleware
from freehold.clock import Clock
from freehold.gateway.backoff import RetrySettings
from freehold.gateway.middleware.attempt_meter import AttemptMeter
from freehold.gateway.middleware.budgets import Budgets
from freehold.gateway.middleware.files import FilesInMessages
from freehold.gateway.middleware.keys import ChecksKeys, KeyCheck
from freehold.gateway.middleware.limits import Limits
from freehold.gateway.middleware.record import Record
from freehold.gateway.middleware.retries import Retries
from freehold.ledger.rates import Rates
from freehold.store.calls import TakesRows
from freehold.upstreams.base import Upstream


def build(
    *,
    upstream: Upstream,
    keys: ChecksKeys,
    store: TakesRows,
    rates: Rates,
    clock: Clock,
    retries: RetrySettings | None = None,
    limits: Limits | None = None,
    budgets: Budgets | None = None,
    files: FilesInMessages | None = None,
    chance: Callable[[], float] = random.random,
) -> Handler:
    """The handler of every call: of the HTTP API, of agents, of batches. `chance` is the jitter's source. Without
    `limits` and `budgets` nobody is limited; without `files` file ids go to the upstream as they are.
    """
    return _stack(
        [
            Record(store, clock),
            KeyCheck(keys),
            *([limits] if limits and limits.active else []),
            *([files] if files else []),
            *([budgets] if budgets else []),
            Retries(retries or RetrySettings(), clock, chance),
            *([budgets.each_attempt] if budgets else []),
            AttemptMeter(upstream.name, rates, clock),
        ],
        upstream,
    )


def _stack(middleware: Sequence[Middleware], innermost: Handler) -> Handler:
    handler = innermost
    for layer in reversed(middleware):
        handler = layer(handler)
    return handler
