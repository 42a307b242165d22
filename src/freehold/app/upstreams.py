"""From settings to the upstreams that answer: one, or the listed ones with their pools of keys."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from freehold.app.ground import Replacements
from freehold.app.settings import UpstreamSettings
from freehold.clock import Clock
from freehold.config import Configuration
from freehold.errors import Misconfigured
from freehold.gateway import pipeline
from freehold.gateway.routes import FallbackSettings
from freehold.outbound.dial import parse_url
from freehold.upstreams.base import Upstream
from freehold.upstreams.claude import Claude, Credential
from freehold.upstreams.network import Network, NetworkSettings
from freehold.upstreams.pool import KeyPool
from freehold.upstreams.settings import CLOUDS, Entry, UpstreamsSettings, entries

CLAUDE_URL = "https://api.anthropic.com"


def make_upstreams(configuration: Configuration, replaced: Replacements) -> tuple[Sequence[Upstream], str]:
    """All upstreams, the first one first, and how the ready line calls them."""
    network = Network.of(configuration.section(NetworkSettings))
    listed = entries(configuration.section(UpstreamsSettings), os.environ, network)
    if not listed or replaced.upstream is not None:
        upstream, described = _upstream(configuration.section(UpstreamSettings), network, replaced)
        return [upstream], described
    return [_listed(entry, replaced.clock) for entry in listed], ", ".join(entry.name for entry in listed)


def _listed(entry: Entry, clock: Clock) -> Upstream:
    """One of `[[upstreams]]`."""
    if entry.url == "simulator":
        simulator = _simulator(clock)
        simulator.name = entry.name
        return simulator
    if entry.url in CLOUDS:
        return _cloud(entry)
    url = CLAUDE_URL if entry.url == "claude" else entry.url
    members = [_over_http(entry.name, url, key, entry.aliases, entry.network) for key in entry.keys or (None,)]
    return members[0] if len(members) == 1 else KeyPool(entry.name, members, clock)


def _simulator(clock: Clock) -> Upstream:
    """Loaded where it answers: it and what it reads schemas with take seven megabytes."""
    from freehold.simulator.upstream import Simulator

    return Simulator(clock)


def _cloud(entry: Entry) -> Upstream:
    """Claude on a cloud; the SDK and the cloud's own library are loaded here and nowhere else."""
    if len(entry.keys) > 1:
        raise Misconfigured(f"upstreams: {entry.name} takes one key")
    try:
        from freehold.outbound.sdk_http import http_client
        from freehold.upstreams.clouds import CloudUpstream, cloud_client

        way = http_client(lambda origin: entry.network.client(origin, os.environ))
        return CloudUpstream(entry.name, cloud_client(entry, way), aliases=entry.aliases, http_client=way)
    except ImportError as error:
        raise Misconfigured(f"{entry.url} needs an extra: pip install 'freehold[{entry.url}]' ({error})") from error
    except ValueError as error:
        raise Misconfigured(f"upstreams: {entry.name}: {error}") from error


def spares(configuration: Configuration, others: Sequence[Upstream]) -> pipeline.Spares | None:
    """What calls fall back on, where there is anything."""
    settings = configuration.section(FallbackSettings)
    return pipeline.Spares(others, settings) if others or settings.routes else None


def key_of(settings: UpstreamSettings) -> str | None:
    """The key of the one upstream."""
    return settings.upstream_key or os.environ.get("ANTHROPIC_API_KEY")


def _upstream(settings: UpstreamSettings, network: Network, replaced: Replacements) -> tuple[Upstream, str]:
    """The upstream, and how the ready line calls it."""
    if replaced.upstream is not None:
        return replaced.upstream, replaced.upstream.name
    key = key_of(settings)
    chosen = settings.upstream
    if chosen == "auto":
        chosen = "claude" if key else "simulator"
    if chosen == "simulator":
        return _simulator(replaced.clock), "the simulator"
    if chosen == "claude" and not key:
        raise Misconfigured("the upstream is claude, but neither ANTHROPIC_API_KEY nor upstream_key is set")
    url = CLAUDE_URL if chosen == "claude" else chosen
    return _over_http("claude" if chosen == "claude" else "http", url, key, settings.model_aliases, network), url


def _over_http(name: str, url: str, key: str | None, aliases: Mapping[str, Any], network: Network) -> Claude:
    if not all(isinstance(model, str) for model in aliases.values()):
        raise Misconfigured("model_aliases: each alias names one model, as text")
    try:
        origin, prefix = parse_url(url)
        credential = Credential.of(key)
    except ValueError as error:
        raise Misconfigured(f"upstream: {error}. Say `simulator`, `claude`, or the base URL of a server.") from error
    client = network.client(origin, os.environ)
    return Claude(name, client, prefix=prefix, credential=credential, aliases=dict(aliases))
