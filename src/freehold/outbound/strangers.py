"""The way out to addresses that strangers name: guarded, by the operator's proxy where there is one, with limits.

Through a proxy it is the proxy that resolves a name. What this machine can judge itself is refused before the proxy is
asked: an address that is not public, and a name that resolves to one here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from freehold.outbound.client import Client
from freehold.outbound.dial import Dialer, Dials, Origin
from freehold.outbound.failures import Unreachable
from freehold.outbound.guard import require_public
from freehold.outbound.limits import Limits
from freehold.outbound.names import Lookups
from freehold.outbound.proxied import ProxiedDialer
from freehold.outbound.proxies import proxy_for
from freehold.outbound.trust import Trust

P = TypeVar("P", bound=asyncio.Protocol)


@dataclass(frozen=True, slots=True)
class Strangers:
    """Makes clients of origins that somebody else than the operator has named.

    `private_hosts` may be reached although their addresses are not public: the operator says so. `environment` names
    the proxies, as `HTTPS_PROXY` and `NO_PROXY`.
    """

    private_hosts: Collection[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    connect_s: float = 10.0
    lookups: Lookups = field(default_factory=Lookups)

    def client(self, origin: Origin) -> Client:
        """A client of that origin. Dialling raises `AddressRefused` for what is not public."""
        return Client(origin, self._dialer(origin), limits=self.limits, idle_connections=4)

    def _dialer(self, origin: Origin) -> Dials:
        private = origin.host in self.private_hosts
        try:
            proxy = None if private else proxy_for(origin, self.environment)
        except ValueError as error:
            return _NoWay(f"the proxy in the environment is none: {error}")
        if proxy is None:
            return Dialer(public_only=not private, timeout_s=self.connect_s, lookups=self.lookups)
        to_proxy = Dialer(public_only=False, timeout_s=self.connect_s)
        inner = ProxiedDialer(proxy, to_proxy=to_proxy, timeout_s=self.connect_s, tls=Trust().context())
        return _JudgedBefore(inner, self.lookups, self.connect_s)


class _JudgedBefore:
    """Asks the proxy only for what would be public here, or what only the proxy can resolve."""

    def __init__(self, inner: Dials, lookups: Lookups, timeout_s: float) -> None:
        self._inner = inner
        self._lookups = lookups
        self._timeout_s = timeout_s

    async def dial(self, origin: Origin, make: Callable[[], P]) -> P:
        """See `Dialer.dial`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._lookups.addresses(origin.host, origin.port)
        except (OSError, UnicodeError, TimeoutError):
            found = []  # only the proxy knows this name
        require_public(origin.host, found)
        return await self._inner.dial(origin, make)


class _NoWay:
    def __init__(self, why: str) -> None:
        self._why = why

    async def dial(self, origin: Origin, make: Callable[[], P]) -> P:
        """Raises `Unreachable`."""
        raise Unreachable(self._why)
