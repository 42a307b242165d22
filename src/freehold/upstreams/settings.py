"""`[[upstreams]]` of the configuration as values: who may answer calls, with which keys and how patiently.

[[upstreams]]
name = "claude"
url = "claude"                       # or a base URL, or "simulator", "bedrock", "vertex", "foundry"
keys = ["sk-ant-…", "sk-ant-…"]      # or key_env = "NAME_OF_A_VARIABLE"
stall_s = 60
proxy = "http://proxy.example:3128"
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freehold.config import setting
from freehold.errors import Misconfigured
from freehold.upstreams.network import Network

CLOUDS = ("bedrock", "vertex", "foundry")
"""Clouds that offer Claude under an API of their own."""
_NUMBER = (int, float)
_NETWORK: Mapping[str, type | tuple[type, ...]] = {
    "proxy": str,
    "ca_file": str,
    "client_cert_file": str,
    "client_key_file": str,
    "client_key_password": str,
    "connect_s": _NUMBER,
    "silence_s": _NUMBER,
    "stall_s": _NUMBER,
}
_CLOUD: Mapping[str, type | tuple[type, ...]] = {
    "region": str,
    "project": str,
    "resource": str,
    "profile": str,
    "base_url": str,
    "credentials_file": str,
}
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "url": str,
    "keys": list,
    "key_env": str,
    "aliases": dict,
    **_NETWORK,
    **_CLOUD,
}


@dataclass(frozen=True, slots=True)
class UpstreamsSettings:
    """Several upstreams instead of one."""

    upstreams: list[Any] = setting(
        [],
        "Upstreams that calls fall back on in this order, as `[[upstreams]]` in the file, each with `name`, `url` "
        "(`claude`, `simulator`, `bedrock`, `vertex`, `foundry` or a base URL), `keys` or `key_env`, `aliases`, and "
        "what `upstream_…` says for all of them: `proxy`, `ca_file`, `stall_s` and so on.",
        secret=True,
    )


@dataclass(frozen=True, slots=True)
class Cloud:
    """Where in a cloud: each cloud uses some of it."""

    region: str | None = None
    project: str | None = None
    resource: str | None = None
    profile: str | None = None
    base_url: str | None = None
    credentials_file: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One of them."""

    name: str
    url: str
    keys: tuple[str, ...] = field(repr=False)
    aliases: Mapping[str, str]
    network: Network
    cloud: Cloud = Cloud()


def entries(
    settings: UpstreamsSettings, environment: Mapping[str, str], network: Network | None = None
) -> Sequence[Entry]:
    """All of them, checked; `network` holds where an entry does not say otherwise.

    Raises:
        Misconfigured: names the entry and what is wrong; never shows a key.
    """
    usual = network or Network()
    found = [_entry(number, given, environment, usual) for number, given in enumerate(settings.upstreams)]
    names = [entry.name for entry in found]
    if len(set(names)) != len(names):
        raise Misconfigured("upstreams: two of them have the same name")
    return found


def _entry(number: int, given: object, environment: Mapping[str, str], network: Network) -> Entry:
    where = f"upstreams.{number}"
    if not isinstance(given, dict):
        raise Misconfigured(f"{where}: must be a table with {', '.join(_TYPES)}")
    for name, value in given.items():
        if name not in _TYPES or not isinstance(value, _TYPES[name]) or isinstance(value, bool):
            raise Misconfigured(f"{where}: {name!r} is unknown or of the wrong type. Known are {', '.join(_TYPES)}.")
    name, url = given.get("name", ""), given.get("url", "")
    if not name or not url or "/" in name or not name.isprintable() or not name.isascii():
        raise Misconfigured(f"{where}: needs a url, and a name in ASCII without a slash")
    aliases = given.get("aliases", {})
    if not all(isinstance(model, str) for model in aliases.values()):
        raise Misconfigured(f"{where}.aliases: each alias names one model, as text")
    keys = _keys(where, given, environment)
    return Entry(name, url, keys, aliases, _network(where, given, network), _cloud(where, url, given))


def _network(where: str, given: Mapping[str, Any], usual: Network) -> Network:
    changed: dict[str, Any] = {name: given[name] for name in _NETWORK if name in given}
    changed |= {name: Path(value) for name, value in changed.items() if name.endswith("_file")}
    network = dataclasses.replace(usual, **changed)
    if min(network.connect_s, network.silence_s, network.stall_s) <= 0:
        raise Misconfigured(f"{where}: connect_s, silence_s and stall_s are seconds above 0")
    return network


def _cloud(where: str, url: str, given: Mapping[str, Any]) -> Cloud:
    named = {name: given[name] for name in _CLOUD if name in given}
    if named and url not in CLOUDS:
        raise Misconfigured(f"{where}: {', '.join(named)} mean nothing where url is none of {', '.join(CLOUDS)}")
    return Cloud(**named)


def _keys(where: str, given: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[str, ...]:
    keys = list(given.get("keys", []))
    if "key_env" in given:
        if not environment.get(given["key_env"]):
            raise Misconfigured(f"{where}.key_env: the environment has no {given['key_env']}")
        keys.append(environment[given["key_env"]])
    if not all(isinstance(key, str) and key for key in keys):
        raise Misconfigured(f"{where}.keys: each key is text")
    return tuple(keys)
