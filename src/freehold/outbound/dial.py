"""Dialling: from an origin to a live transport, by way of the resolver, the address guard, TCP and TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from freehold.outbound.failures import TimedOut, Unreachable
from freehold.outbound.guard import require_public
from freehold.outbound.names import Lookups, addresses_in

P = TypeVar("P", bound=asyncio.Protocol)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what one connection is good for."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The `Host` header: without the port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse_url(url: str) -> tuple[Origin, str]:
    """Origin and path prefix (without a final slash) of a base URL such as `https://api.anthropic.com`.

    Raises:
        ValueError: not an http(s) URL with a host, or one that carries credentials, a query or a fragment.
    """
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is not an http:// or https:// URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a base URL carries no user or password; set the key instead")
    if parts.query or parts.fragment:
        raise ValueError(f"the base URL {url!r} must have no query and no fragment")
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    return Origin(parts.scheme, parts.hostname, port), parts.path.rstrip("/")


class Dials(Protocol):
    """Opens connections: a `Dialer`, or one that goes by a proxy."""

    async def dial(self, origin: Origin, make: Callable[[], P]) -> P:
        """See `Dialer.dial`."""
        ...


class Dialer:
    """Opens connections. With `public_only` every address must pass the guard; leave it off only for addresses that
    the operator alone sets.

    `timeout_s` bounds the whole of one dial: name, TCP and TLS. `tls` replaces the system's trust (a private CA).
    `lookups`: what looks the names of strangers up, where several dialers share it.
    """

    def __init__(
        self,
        *,
        public_only: bool,
        timeout_s: float = 10.0,
        tls: ssl.SSLContext | None = None,
        lookups: Lookups | None = None,
    ) -> None:
        self._public_only = public_only
        self._lookups = (lookups or Lookups()) if public_only else None
        self._timeout_s = timeout_s
        self._tls = tls

    async def dial(self, origin: Origin, make: Callable[[], P]) -> P:
        """A protocol of `make` on a fresh connection to `origin`.

        Raises:
            Unreachable: nothing answered there, or TLS failed (AddressRefused: the guard said no).
            TimedOut: not connected within `timeout_s`.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._connect(origin, make)
        except TimeoutError as error:
            raise TimedOut(f"no connection to {origin.authority} within {self._timeout_s:g} s") from error
        except OSError as error:
            raise Unreachable(f"cannot connect to {origin.authority}: {reason(error)}") from error

    async def _connect(self, origin: Origin, make: Callable[[], P]) -> P:
        addresses = await self._resolve(origin)
        for last, address in ((i == len(addresses) - 1, a) for i, a in enumerate(addresses)):
            try:
                # An address that swallows packets must not use up the time of those after it.
                async with asyncio.timeout(None if last else self._timeout_s / len(addresses)):
                    return await self._connect_to(address, origin, make)
            except OSError:
                if last:
                    raise
        raise AssertionError("unreachable: there was at least one address")

    async def _resolve(self, origin: Origin) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            if self._lookups is not None:
                addresses = await self._lookups.addresses(origin.host, origin.port)
            else:
                found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
                addresses = addresses_in(found)
        except UnicodeError as error:
            raise Unreachable(f"{origin.host!r} is not a host name") from error
        if not addresses:
            raise Unreachable(f"{origin.host} has no address")
        if self._public_only:
            require_public(origin.host, addresses)
        return addresses

    async def _connect_to(self, address: str, origin: Origin, make: Callable[[], P]) -> P:
        loop = asyncio.get_running_loop()
        if origin.scheme == "http":
            return (await loop.create_connection(make, address, origin.port))[1]
        tls = self._tls or self._system_trust()
        return (await loop.create_connection(make, address, origin.port, ssl=tls, server_hostname=origin.host))[1]

    def _system_trust(self) -> ssl.SSLContext:
        self._tls = ssl.create_default_context()
        return self._tls


def reason(error: OSError) -> str:
    """Why it failed, in words without an address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    return error.strerror or str(error) or type(error).__name__
