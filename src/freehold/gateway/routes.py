"""Which upstreams and models answer a call, in order: `[routes]` of the configuration as values. No I/O.

    [routes]
    "claude-opus-*" = ["claude", "claude/claude-sonnet-5-5", "spare"]
    "*" = ["claude", "spare"]

The first pattern that fits the model wins. `upstream/model` asks that upstream for another model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from freehold.config import setting
from freehold.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class FallbackSettings:
    """Who is asked when an upstream fails."""

    routes: dict[str, Any] = setting(
        {},
        "Which upstreams answer which models, in order, as `[routes]` in the file: a pattern such as `claude-opus-*` "
        "or `*`, and a list of `upstream` or `upstream/model`. Left out: every upstream, in the order of the file.",
    )
    breaker_failures: int = setting(5, "after so many failures in a row an upstream is left alone for a while")
    breaker_cool_down_s: float = setting(30.0, "how long it is left alone; then one call tries it", unit="s")
    fallback_wait_max_s: float = setting(
        2.0, "where another upstream can be asked, no wait before a retry is longer", unit="s"
    )


@dataclass(frozen=True, slots=True)
class Leg:
    """One upstream on a route. `model` of `None`: the one that the client asked for."""

    upstream: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Where the calls for the models of this pattern go."""

    pattern: str
    legs: tuple[Leg, ...]


def routes_of(given: Mapping[str, Any], upstreams: Collection[str]) -> tuple[Route, ...]:
    """The routes in the order of the file; the last one is for every model that no other fits.

    Raises:
        Misconfigured: a route is no list of known upstreams.
    """
    routes = [Route(pattern, _legs(pattern, legs, upstreams)) for pattern, legs in given.items()]
    routes.append(Route("*", tuple(Leg(name) for name in upstreams)))
    return tuple(routes)


def route_for(routes: tuple[Route, ...], model: str) -> Route:
    """The first one that fits."""
    return next(route for route in routes if fnmatchcase(model, route.pattern))


def _legs(pattern: str, given: object, upstreams: Collection[str]) -> tuple[Leg, ...]:
    if not isinstance(given, list) or not given or not all(isinstance(leg, str) for leg in given):
        raise Misconfigured(f'routes."{pattern}": must be a list such as ["claude", "claude/claude-sonnet-5-5"]')
    legs = []
    for text in given:
        name, _, model = text.partition("/")
        if name not in upstreams:
            raise Misconfigured(f'routes."{pattern}": there is no upstream {name!r}. Known: {", ".join(upstreams)}.')
        legs.append(Leg(name, model or None))
    return tuple(legs)
