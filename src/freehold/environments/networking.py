"""Which names a box may reach: the `networking` of its environment as a rule that answers yes or why not.

    {"type": "limited", "allowed_hosts": ["api.example.com", "*.example.org"], "allow_package_managers": true}

Only names are judged here; the addresses behind them are judged by the guard when they are dialled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.config import setting
from freehold.errors import InvalidRequest

_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
"""A box trusts whom the host trusts; some programs would rather trust a list of their own."""
_WEB_PORTS = (80, 443)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MOST_HOSTS = 200


@dataclass(frozen=True, slots=True)
class EgressSettings:
    """What boxes may reach beyond the rules of their environments."""

    egress_package_hosts: tuple[str, ...] = setting(
        (
            *("pypi.org", "files.pythonhosted.org", "registry.npmjs.org", "rubygems.org", "index.rubygems.org"),
            *("crates.io", "index.crates.io", "static.crates.io", "proxy.golang.org", "sum.golang.org"),
            *("deb.debian.org", "security.debian.org", "archive.ubuntu.com", "security.ubuntu.com"),
        ),
        "The hosts that `allow_package_managers` opens.",
    )
    egress_private_hosts: tuple[str, ...] = setting(
        (), "Hosts whose addresses may be private (a registry of your own). Environments must still allow them."
    )


class NotAHostName(ValueError):
    """It is no name that a box may ask for."""


def canonical(host: str) -> str:
    """The one spelling of a host name that every later decision uses: ASCII, lower case, no final dot.

    Raises:
        NotAHostName: it is an address in any spelling, or no name at all.
    """
    try:
        name = host.lower() if host.isascii() else host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise NotAHostName(f"{host[:100]!r} is not a host name") from None
    name = name.removesuffix(".")
    labels = name.split(".")
    if not 0 < len(name) <= 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise NotAHostName(f"{host[:100]!r} is not a host name")
    if _NUMBER.fullmatch(labels[-1]):
        raise NotAHostName(f"{host[:100]!r} is an address; only names can be allowed")
    return name


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of a list: a name or everything below a suffix, on the web's ports or on one that is named."""

    name: str
    below: bool
    port: int | None

    def fits(self, name: str, port: int) -> bool:
        """Whether it allows that name and port. `*.example.com` does not mean `example.com` itself."""
        same = name.endswith(f".{self.name}") if self.below else name == self.name
        return same and (port == self.port if self.port else port in _WEB_PORTS)


@dataclass(frozen=True, slots=True)
class Policy:
    """What one box may reach. Nothing, when there are no rules."""

    rules: tuple[Rule, ...] = ()
    anything: bool = False

    @property
    def closed(self) -> bool:
        """There is no way out at all."""
        return not self.rules and not self.anything

    def refusal(self, name: str, port: int) -> str | None:
        """Why that canonical name is not to be reached; `None` when it is."""
        if not 0 < port < 65536:
            return f"{port} is not a port"
        if self.anything or any(rule.fits(name, port) for rule in self.rules):
            return None
        return f"{name}:{port} is not among the hosts that this environment allows"


def rule(text: str) -> Rule:
    """From `api.example.com`, `*.example.com` or `api.example.com:8443`.

    Raises:
        InvalidRequest: it is none of them.
    """
    host, _, port = text.strip().partition(":")
    below = host.startswith("*.")
    try:
        name = canonical(host.removeprefix("*."))
    except NotAHostName as error:
        raise InvalidRequest(f"allowed_hosts: {error}") from error
    if port and (not port.isdecimal() or not 0 < int(port) < 65536):
        raise InvalidRequest(f"allowed_hosts: {text[:100]!r} has no port after the colon")
    if below and "." not in name:
        raise InvalidRequest(f"allowed_hosts: {text[:100]!r} would allow a whole top-level domain")
    return Rule(name, below, int(port) if port else None)


def check_networking(config: Mapping[str, Any]) -> None:
    """For the API: whether this `networking` object can be had.

    Raises:
        InvalidRequest: names the entry that cannot.
    """
    hosts = config.get("allowed_hosts") or []
    if len(hosts) > _MOST_HOSTS:
        raise InvalidRequest(f"allowed_hosts: at most {_MOST_HOSTS} hosts, not {len(hosts)}")
    for host in hosts:
        rule(host)


def policy_of(environment: Mapping[str, Any], mcp_hosts: Sequence[str], settings: EgressSettings) -> Policy:
    """The rule of a box from the `config` of its environment; no `networking` means no network."""
    networking = environment.get("networking") or {"type": "limited"}
    if networking.get("type") == "unrestricted":
        return Policy(anything=True)
    hosts = list(networking.get("allowed_hosts") or [])
    if networking.get("allow_package_managers"):
        hosts += settings.egress_package_hosts
    if networking.get("allow_mcp_servers"):
        hosts += mcp_hosts
    return Policy(tuple(rule(host) for host in hosts))


def proxy_variables(port: int) -> dict[str, str]:
    """What makes the usual clients go through the proxy; each of them reads another one."""
    address = f"http://127.0.0.1:{port}"
    trusted = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CARGO_HTTP_CAINFO")
    names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    local = "localhost,127.0.0.1,::1"
    return {
        **dict.fromkeys(names, address),
        **(dict.fromkeys(trusted, _AUTHORITIES) if Path(_AUTHORITIES).exists() else {}),
        "no_proxy": local,
        "NO_PROXY": local,
        "NODE_USE_ENV_PROXY": "1",  # without it Node's fetch ignores all of the above
        "npm_config_proxy": address,
        "npm_config_https_proxy": address,
        "PIP_PROXY": address,
        "JAVA_TOOL_OPTIONS": " ".join(
            f"-D{scheme}.proxyHost=127.0.0.1 -D{scheme}.proxyPort={port}" for scheme in ("http", "https")
        ),
    }
