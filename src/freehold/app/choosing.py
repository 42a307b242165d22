"""Makes what chooses for a call: its model where that is left to us, and what of it is kept in Claude's cache.

What is learned outlives a new configuration, so it is made once.
"""

from __future__ import annotations

from dataclasses import dataclass

from freehold.app.ground import Ground
from freehold.gateway.middleware.routing import Routing
from freehold.gateway.routing.estimate import Estimates
from freehold.gateway.routing.router import Router
from freehold.gateway.routing.settings import RoutingSettings, rulebook
from freehold.store.route_decisions import RouteDecisions


@dataclass(frozen=True, slots=True)
class Choosing:
    """The middleware that choose."""

    routing: Routing


def make_choosing(ground: Ground) -> Choosing:
    """One for a process."""
    rules = rulebook(ground.configuration.section(RoutingSettings))
    router = Router(rules, Estimates(ground.rates))
    return Choosing(Routing(router, RouteDecisions(ground.store), ground.clock))
