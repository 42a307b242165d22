"""Caching for calls: settings, the route that a call belongs to, sizes in tokens, and the planner over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from freehold.calls import Call
from freehold.config import setting
from freehold.errors import Misconfigured
from freehold.gateway.caching.habits import Prices
from freehold.gateway.caching.layout import Layout, lay_out
from freehold.gateway.caching.marking import NAME, marked
from freehold.gateway.caching.memory import Memory
from freehold.gateway.caching.plan import Plan, Planner
from freehold.gateway.routing.models import cache_minimum
from freehold.ledger.rates import Rates
from freehold.wire.facts import Usage
from freehold.wire.search import contains

Mode = Literal["auto", "off", "client"]
_BYTES_PER_TOKEN = 3.5
_LEAST_BYTES = 1_200
"""No model caches a shorter prompt (512 tokens)."""
_PRICES_KEPT_US = 300_000_000
_MODES = ("auto", "off", "client")


@dataclass(frozen=True, slots=True)
class CachingSettings:
    """What is kept in Claude's prompt cache."""

    caching: Literal["auto", "off", "client"] = setting(
        "client",
        "who sets the breakpoints of Claude's prompt cache: `auto`, this server; `client`, whoever asks; `off`: nobody",
    )
    caching_routes: dict[str, Any] = setting(
        {}, 'the same for some models: `[caching_routes]` with `"claude-opus-*" = "auto"`; the first that fits wins'
    )
    caching_keep_alive: bool = setting(
        True,
        "with `auto`: keep a prefix warm by requests without an answer (`max_tokens` 0) where that costs least",
    )
    cache_doctor: bool = setting(True, "look for the cause when a warm prefix is missed; see `freehold cache report`")
    cache_excerpts: bool = setting(
        True, "keep a few bytes around the first difference with a miss; they are parts of prompts"
    )
    caching_override: bool = setting(
        False, "with `auto`: also replace breakpoints that the client has set; else such a request is left as it is"
    )


def check(settings: CachingSettings) -> None:
    """Raises `Misconfigured` where a route has no such mode."""
    for pattern, mode in settings.caching_routes.items():
        if mode not in _MODES:
            raise Misconfigured(
                f'caching_routes."{pattern}": must be one of {", ".join(_MODES)}, not {str(mode)[:40]!r}'
            )


@dataclass(slots=True)
class Planned:
    """A plan and the layout that it is for."""

    plan: Plan
    layout: Layout


@dataclass(slots=True)
class _Model:
    prices: Prices
    minimum: int
    until_us: int
    bytes_per_token: float = _BYTES_PER_TOKEN


class Cacher:
    """One for a process. Times are microseconds since 1970."""

    def __init__(self, settings: CachingSettings, rates: Rates, memory: Memory | None = None) -> None:
        self.renew(settings)
        self.memory = memory or Memory()
        self._rates = rates
        self._planner = Planner(self.memory)
        self._models: dict[str, _Model] = {}

    def renew(self, settings: CachingSettings) -> None:
        """From now on these. Raises `Misconfigured`."""
        check(settings)
        self.settings = settings

    def mode(self, model: str) -> Mode:
        """Who sets the breakpoints of calls for that model."""
        for pattern, mode in self.settings.caching_routes.items():
            if fnmatchcase(model, pattern):
                found: Mode = mode
                return found
        return self.settings.caching

    def plan(self, call: Call, now_us: int) -> Planned | None:
        """Where the breakpoints of this call go; `None`: it is too short, or not to be read."""
        if len(call.body) < _LEAST_BYTES:
            return None
        layout = lay_out(call)
        model = self._model(call.model, now_us)
        if layout is None or model is None:
            return None
        minimum = model.minimum * model.bytes_per_token
        return Planned(self._planner.plan(layout, route_of(call), model.prices, minimum, now_us), layout)

    def marked(self, call: Call, planned: Planned) -> tuple[bytes, Mapping[str, bytes]]:
        """The body with its breakpoints, and its members."""
        return marked(call.body, call.fields, planned.layout, planned.plan.marks)

    def begun(self, planned: Planned, started_us: int) -> None:
        """Its answer has begun, so what it wrote is there."""
        self._planner.begun(planned.plan, started_us)

    def answered(self, call: Call, planned: Planned, usage: Usage, now_us: int) -> None:
        """Learn from what the answer used."""
        model = self._models.get(call.model)
        prompt = (
            usage.input_tokens + usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        )
        if model is not None and prompt > 200:
            model.bytes_per_token = 0.8 * model.bytes_per_token + 0.2 * planned.layout.end.until_bytes / prompt
        if planned.plan.warm_at >= 0 and usage.cache_read_tokens == 0:
            self._planner.lost(planned.plan)

    def _model(self, name: str, now_us: int) -> _Model | None:
        known = self._models.get(name)
        if known is not None and now_us < known.until_us:
            return known
        card = self._rates.card(name)
        rate = card.rate(1, now_us, fast=False) if card is not None else None
        if rate is None or rate[0] == 0:
            return None
        relative = Prices(rate[2] / rate[0], rate[3] / rate[0], rate[4] / rate[0])
        size = known.bytes_per_token if known is not None else _BYTES_PER_TOKEN
        if len(self._models) > 1_000:
            self._models.clear()
        made = self._models[name] = _Model(relative, cache_minimum(name), now_us + _PRICES_KEPT_US, size)
        return made


def route_of(call: Call) -> str:
    """Calls that behave alike: of one key, for one purpose, to one model."""
    caller = call.caller
    return f"{caller.key_id if caller is not None else ''}|{call.source or ''}|{call.task_type or ''}|{call.model}"


def has_marks(call: Call) -> bool:
    """Whether the client has set breakpoints of its own."""
    return contains(call.body, NAME)
