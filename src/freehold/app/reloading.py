"""A new configuration for a server that runs: what can change without dropping a call does, the rest is named.

Hot are retries, routes and breakers, limits, what is recorded, how models are chosen and prompts cached, and of
upstreams the keys and aliases. All of it is checked before any of it is changed. Calls that are under way end as they
began; breakers and retry budgets begin anew.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from freehold.app.ground import Replacements
from freehold.app.settings import UpstreamSettings
from freehold.app.upstreams import key_of, make_upstreams
from freehold.calls import Handler
from freehold.config import Configuration
from freehold.errors import Misconfigured
from freehold.gateway.backoff import RetrySettings
from freehold.gateway.caching.cacher import CachingSettings, check
from freehold.gateway.middleware.departures import Departures, DepartureSettings
from freehold.gateway.middleware.limits import Limits, LimitSettings
from freehold.gateway.recording import RecordSettings
from freehold.gateway.routes import FallbackSettings
from freehold.gateway.routing.settings import RoutingSettings, rulebook
from freehold.gateway.switch import Switch
from freehold.upstreams.base import Upstream
from freehold.upstreams.claude import Claude, Credential
from freehold.upstreams.network import Network, NetworkSettings
from freehold.upstreams.pool import KeyPool
from freehold.upstreams.settings import CLOUDS, Entry, UpstreamsSettings, entries

HOT: tuple[type[Any], ...] = (
    RetrySettings,
    FallbackSettings,
    LimitSettings,
    RecordSettings,
    DepartureSettings,
    RoutingSettings,
    CachingSettings,
)
"""Sections that take effect at once and whole."""
_HOT_OF_UPSTREAM = ("upstream_key", "model_aliases", "upstreams")


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The names of the settings that have changed: those in force now, and those that need a restart."""

    taken: Sequence[str]
    waiting: Sequence[str]


class Renews(Protocol):
    """A part that outlives a new configuration."""

    def renew(self, fresh: Configuration) -> None:
        """From now on by these settings. Raises `Misconfigured`."""
        ...


class Reloading:
    """`make` gives the pipeline of a configuration; `upstreams` are those of the start, which stay."""

    def __init__(
        self,
        configuration: Configuration,
        switch: Switch,
        make: Callable[[Configuration], Handler],
        lasting: Sequence[Renews],
        upstreams: Sequence[Upstream],
    ) -> None:
        self._configuration = configuration
        self._switch = switch
        self._make = make
        self._lasting = lasting
        self._upstreams = upstreams

    def apply(self, fresh: Configuration, replaced: Replacements) -> Reloaded:
        """Take over what can be.

        Raises:
            Misconfigured: something does not fit; then nothing has changed.
        """
        changed = _changed(self._configuration, fresh)
        hot = {field.name for section in HOT for field in dataclasses.fields(section)} | {*_HOT_OF_UPSTREAM}
        taken = [name for name in changed if name in hot]
        waiting = [name for name in changed if name not in hot]
        Limits(fresh.section(LimitSettings), replaced.clock)
        rulebook(fresh.section(RoutingSettings))
        check(fresh.section(CachingSettings))
        Departures(fresh.section(DepartureSettings))  # refuses what does not fit, as does the next line
        self._make(fresh)
        renewals: list[Callable[[], None]] = []
        if replaced.upstream is None and any(name in _HOT_OF_UPSTREAM for name in taken):
            renewals = self._renewals(fresh, replaced)
        for part in self._lasting:
            part.renew(fresh)
        handler = self._make(fresh)
        for renew in renewals:
            renew()
        self._switch.current = handler
        self._configuration = fresh
        return Reloaded(taken, waiting)

    def _renewals(self, fresh: Configuration, replaced: Replacements) -> list[Callable[[], None]]:
        """What gives the upstreams of the start their new keys and aliases.

        Raises:
            Misconfigured: more than those has changed.
        """
        old, new = _entries(self._configuration), _entries(fresh)
        if not old and not new:
            settings = fresh.section(UpstreamSettings)
            make_upstreams(fresh, replaced)  # refuses what does not fit; nothing is dialled before a call comes
            credential, (upstream, *_) = Credential.of(key_of(settings)), self._upstreams
            return [lambda: upstream.renew(credential, settings.model_aliases)] if isinstance(upstream, Claude) else []
        if [_place(entry) for entry in old] != [_place(entry) for entry in new]:
            raise Misconfigured("upstreams: another number, order, place or network of them needs a restart")
        pairs = zip(self._upstreams, make_upstreams(fresh, replaced)[0], new, strict=True)
        return [_renewal(upstream, made, entry) for upstream, made, entry in pairs]


def _renewal(upstream: Upstream, made: Upstream, entry: Entry) -> Callable[[], None]:
    def renew() -> None:
        if isinstance(upstream, KeyPool) and isinstance(made, KeyPool):
            upstream.adopt(made)
        elif isinstance(upstream, Claude):
            upstream.renew(Credential.of(entry.keys[0] if entry.keys else None), entry.aliases)

    return renew


def _entries(configuration: Configuration) -> Sequence[Entry]:
    network = Network.of(configuration.section(NetworkSettings))
    return entries(configuration.section(UpstreamsSettings), os.environ, network)


def _place(entry: Entry) -> tuple[Any, ...]:
    """What of an upstream cannot change while it runs. One key and several are different things."""
    fixed = (entry.keys, entry.aliases) if entry.url in CLOUDS else ()
    return entry.name, entry.url, entry.network, entry.cloud, len(entry.keys) > 1, fixed


def _changed(old: Configuration, new: Configuration) -> list[str]:
    before = {source.name: source.value for source in old.sources}
    return [source.name for source in new.sources if source.value != before.get(source.name)]
