"""How an upstream is reached: proxy, private authority, client certificate, patience; settings and their client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from freehold.config import setting
from freehold.errors import Misconfigured
from freehold.outbound.client import Client
from freehold.outbound.dial import Dialer, Dials, Origin
from freehold.outbound.limits import Limits
from freehold.outbound.proxied import ProxiedDialer
from freehold.outbound.proxies import Proxy, parse_proxy, proxy_for
from freehold.outbound.trust import Trust

NO_PROXY = "none"
"""The value of a `proxy` that keeps even HTTPS_PROXY out."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """How upstreams are reached; an entry of `[[upstreams]]` may say otherwise for itself, without the `upstream_`."""

    upstream_proxy: str | None = setting(
        None,
        "HTTP proxy to every upstream, as `http://user:word@proxy:3128`; `none`: no proxy at all; left out: as "
        "HTTPS_PROXY, ALL_PROXY and NO_PROXY in the environment say.",
        secret=True,
    )
    upstream_ca_file: Path | None = setting(
        None, "Authorities in PEM that are believed besides the system's, such as a company's own."
    )
    upstream_client_cert_file: Path | None = setting(
        None, "Client certificate in PEM, for upstreams and proxies that ask who we are."
    )
    upstream_client_key_file: Path | None = setting(None, "Its key, where that is not in the same file.")
    upstream_client_key_password: str | None = setting(None, "The password of that key.", secret=True)
    upstream_connect_s: float = setting(10.0, "How long a connection may take: name, proxy, TLS.", unit="s", least=0.01)
    upstream_silence_s: float = setting(600.0, "How long a whole answer may take.", unit="s", least=0.01)
    upstream_stall_s: float = setting(600.0, "How long a stream may be silent.", unit="s", least=0.01)


@dataclass(frozen=True, slots=True)
class Network:
    """The same for one upstream."""

    proxy: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    client_key_password: str | None = field(default=None, repr=False)
    connect_s: float = 10.0
    silence_s: float = 600.0
    stall_s: float = 600.0

    @classmethod
    def of(cls, settings: NetworkSettings) -> Network:
        """What holds for every upstream."""
        return cls(
            settings.upstream_proxy,
            settings.upstream_ca_file,
            settings.upstream_client_cert_file,
            settings.upstream_client_key_file,
            settings.upstream_client_key_password,
            settings.upstream_connect_s,
            settings.upstream_silence_s,
            settings.upstream_stall_s,
        )

    def client(self, origin: Origin, environment: Mapping[str, str]) -> Client:
        """A client of that origin, by this way.

        Raises:
            Misconfigured: a certificate cannot be used, or a proxy is none.
        """
        limits = Limits(silence_s=self.silence_s, stall_s=self.stall_s)
        return Client(origin, self._dialer(origin, environment), limits=limits)

    def _dialer(self, origin: Origin, environment: Mapping[str, str]) -> Dials:
        trust = Trust(self.ca_file, self.client_cert_file, self.client_key_file, self.client_key_password)
        try:
            proxy = self._proxy(origin, environment)
            # The system's authorities take 20 ms to read: not where nobody will ask for them.
            tls = trust.context() if trust != Trust() or proxy is not None else None
        except ValueError as error:
            raise Misconfigured(f"upstream: {error}") from error
        direct = Dialer(public_only=False, timeout_s=self.connect_s, tls=tls)
        if proxy is None or tls is None:
            return direct
        return ProxiedDialer(proxy, to_proxy=direct, timeout_s=self.connect_s, tls=tls)

    def _proxy(self, origin: Origin, environment: Mapping[str, str]) -> Proxy | None:
        if self.proxy == NO_PROXY:
            return None
        return parse_proxy(self.proxy) if self.proxy else proxy_for(origin, environment)
