"""Makes what chooses for a call: its model where that is left to us, what of it is seen, what of it is cached.

What is learned outlives a new configuration, so it is made once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from freehold.app.ground import Ground
from freehold.calls import Handler
from freehold.config import Configuration
from freehold.gateway.caching.cacher import Cacher, CachingSettings
from freehold.gateway.caching.doctor import Doctor
from freehold.gateway.caching.keeping import Keeping
from freehold.gateway.middleware.caching import Caching, Watching
from freehold.gateway.middleware.context_edits import ContextEdits, ContextEditSettings
from freehold.gateway.middleware.routing import Judging, Routing
from freehold.gateway.routing.asking import Asking, Shadows
from freehold.gateway.routing.estimate import Estimates
from freehold.gateway.routing.learning import Learning
from freehold.gateway.routing.router import Router
from freehold.gateway.routing.settings import RoutingSettings, rulebook
from freehold.store.cache_misses import CacheMisses, HabitRows
from freehold.store.route_decisions import RouteDecisions
from freehold.store.route_samples import RouteSamples


@dataclass(frozen=True, slots=True)
class Choosing:
    """The middleware that choose, and what they have learned."""

    routing: Routing
    context_edits: ContextEdits
    caching: Caching
    judging: Judging
    habits: Keeping
    learning: Learning
    ground: Ground

    def renew(self, fresh: Configuration) -> None:
        """From now on by these settings; what was learned stays. Raises `Misconfigured`."""
        routing, caching = fresh.section(RoutingSettings), fresh.section(CachingSettings)
        rules = rulebook(routing)
        self.caching.cacher.renew(caching)
        self.caching.watching = _watching(self.ground, caching, self.caching.watching)
        self.routing.router.renew(rules)
        self.judging.agreement = routing.routing_agreement
        self.judging.shadows.renew(routing.routing_shadow_share)
        self.learning.renew(routing.routing_most_loss)

    def ask_by(self, handler: Handler) -> None:
        """Requests of their own go through the whole pipeline."""
        self.caching.ask = handler
        self.context_edits.ask = handler
        self.judging.asking.handler = handler

    async def start(self) -> None:
        """Take over what was learned before."""
        await self.habits.load()
        await self.judging.shadows.load()

    async def save(self) -> None:
        """Keep what was learned since."""
        await self.habits.save()

    async def close(self) -> None:
        """End the requests of their own, and keep what was learned."""
        await self.caching.close()
        await self.judging.shadows.close()
        await self.save()


def make_choosing(ground: Ground) -> Choosing:
    """One for a process."""
    settings = ground.configuration.section(RoutingSettings)
    learning, asking = Learning(settings.routing_most_loss), Asking(ground.clock, ground.ids)
    shadows = Shadows(asking, learning, RouteSamples(ground.store), settings.routing_shadow_share, random.random)
    router = Router(rulebook(settings), Estimates(ground.rates), learning)
    judging = Judging(asking, shadows, settings.routing_agreement)
    caching = _caching(ground, ground.configuration.section(CachingSettings))
    return Choosing(
        Routing(router, RouteDecisions(ground.store), ground.clock, judging),
        ContextEdits(ground.configuration.section(ContextEditSettings), ground.clock, ground.ids),
        caching,
        judging,
        Keeping(caching.cacher.memory, HabitRows(ground.store), ground.clock),
        learning,
        ground,
    )


def _caching(ground: Ground, settings: CachingSettings) -> Caching:
    watching = _watching(ground, settings, None)
    return Caching(Cacher(settings, ground.rates), watching, ground.clock, ground.ids)


def _watching(ground: Ground, settings: CachingSettings, before: Watching | None) -> Watching | None:
    """The doctor, if there is to be one: the one that there was."""
    if not settings.cache_doctor:
        return None
    doctor = before.doctor if before is not None else Doctor(ground.rates)
    return Watching(doctor, CacheMisses(ground.store), settings.cache_excerpts)
