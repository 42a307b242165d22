"""Which proxy stands between this machine and an upstream: by setting, else by HTTPS_PROXY and NO_PROXY. No I/O.

As curl and Go read them: a name in NO_PROXY covers its subdomains, an address may be a network, `*` is everything, and
this machine itself is never asked for through a proxy that only the environment names.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from freehold.outbound.dial import Origin

_PORTS = {"http": 8080, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `credential` is the value of `proxy-authorization`; `None`: it asks for none. Never shown."""

    origin: Origin
    credential: bytes | None = field(default=None, repr=False)


def parse_proxy(url: str) -> Proxy:
    """A proxy from its URL, such as `http://user:word@proxy.example:3128`.

    Raises:
        ValueError: it is none; the message does not show the password.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in _PORTS or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ValueError("a proxy is a URL such as http://proxy.example:3128 (SOCKS is not spoken)")
    origin = Origin(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])
    if parts.username is None:
        return Proxy(origin)
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(origin, b"Basic " + base64.b64encode(pair.encode()))


def proxy_for(origin: Origin, environment: Mapping[str, str]) -> Proxy | None:
    """The one that the environment names for this origin.

    Raises:
        ValueError: the variable holds no proxy.
    """
    url = _variable(environment, f"{origin.scheme}_proxy") or _variable(environment, "all_proxy")
    if not url or _is_here(origin.host) or is_exempt(origin, _variable(environment, "no_proxy")):
        return None
    return parse_proxy(url)


def is_exempt(origin: Origin, no_proxy: str) -> bool:
    """Whether NO_PROXY covers this origin."""
    return any(_covers(entry.strip().lower(), origin) for entry in no_proxy.split(",") if entry.strip())


def _covers(entry: str, origin: Origin) -> bool:
    if entry == "*":
        return True
    host, port = origin.host.lower(), ""
    if entry.count(":") == 1:
        entry, _, port = entry.partition(":")
    if port and port != str(origin.port):
        return False
    try:
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        name = entry.lstrip("*").lstrip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.upper()) or ""
