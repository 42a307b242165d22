"""Dialling through an HTTP proxy: a tunnel to the origin, and TLS with the origin itself inside it.

The proxy resolves the origin's name and sees no more than it. A plain `http://` origin is reached by a tunnel too.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar

from freehold.outbound.dial import Dialer, Origin, reason
from freehold.outbound.failures import TimedOut, Unreachable
from freehold.outbound.proxies import Proxy
from freehold.outbound.tunnel import Tunnel

P = TypeVar("P", bound=asyncio.Protocol)


class ProxiedDialer:
    """Does what a `Dialer` does, by way of `proxy`. `tls` is for the origin; the proxy's own TLS is `to_proxy`'s.

    `timeout_s` bounds the whole of one dial: the proxy, the tunnel and TLS.
    """

    def __init__(self, proxy: Proxy, *, to_proxy: Dialer, timeout_s: float = 10.0, tls: ssl.SSLContext) -> None:
        self._proxy = proxy
        self._to_proxy = to_proxy
        self._timeout_s = timeout_s
        self._tls = tls

    async def dial(self, origin: Origin, make: Callable[[], P]) -> P:
        """See `Dialer.dial`; `Unreachable` also means that the proxy refuses."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._connect(origin, make)
        except TimeoutError as error:
            told = f"no connection to {origin.authority} through the proxy within {self._timeout_s:g} s"
            raise TimedOut(told) from error
        except OSError as error:
            raise Unreachable(f"cannot connect to {origin.authority} through the proxy: {reason(error)}") from error

    async def _connect(self, origin: Origin, make: Callable[[], P]) -> P:
        tunnel = await self._to_proxy.dial(self._proxy.origin, Tunnel)
        try:
            host = f"[{origin.host}]" if ":" in origin.host else origin.host
            tunnel.ask(f"{host}:{origin.port}", self._proxy.credential)
            await tunnel.opened
            return await self._inside(tunnel, origin, make())
        except BaseException:
            tunnel.transport.abort()
            raise

    async def _inside(self, tunnel: Tunnel, origin: Origin, protocol: P) -> P:
        transport: asyncio.Transport = tunnel.transport
        if origin.scheme == "https":
            loop = asyncio.get_running_loop()
            secured = await loop.start_tls(transport, protocol, self._tls, server_hostname=origin.host)
            if secured is None:
                raise Unreachable(f"{origin.authority} hung up during the TLS handshake")
            transport = secured
        else:
            transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if origin.scheme == "http":
            transport.resume_reading()
        return protocol
