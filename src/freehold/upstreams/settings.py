"""`[[upstreams]]` of the configuration as values: who may answer calls, with which keys and how patiently.

[[upstreams]]
name = "claude"
url = "claude"                       # or a base URL, or "simulator"
keys = ["sk-ant-…", "sk-ant-…"]      # or key_env = "NAME_OF_A_VARIABLE"
stall_s = 60
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from freehold.config import setting
from freehold.errors import Misconfigured

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "url": str,
    "keys": list,
    "key_env": str,
    "aliases": dict,
    "silence_s": (int, float),
    "stall_s": (int, float),
}


@dataclass(frozen=True, slots=True)
class UpstreamsSettings:
    """Several upstreams instead of one."""

    upstreams: list[Any] = setting(
        [],
        "Upstreams that calls fall back on in this order, as `[[upstreams]]` in the file, each with `name`, `url` "
        "(`claude`, `simulator` or a base URL), `keys` or `key_env`, `aliases`, `silence_s` and `stall_s`.",
        secret=True,
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """One of them."""

    name: str
    url: str
    keys: tuple[str, ...] = field(repr=False)
    aliases: Mapping[str, str]
    silence_s: float
    """How long a whole answer may take."""
    stall_s: float
    """How long a stream may be silent."""


def entries(settings: UpstreamsSettings, environment: Mapping[str, str]) -> Sequence[Entry]:
    """All of them, checked.

    Raises:
        Misconfigured: names the entry and what is wrong; never shows a key.
    """
    found = [_entry(number, given, environment) for number, given in enumerate(settings.upstreams)]
    names = [entry.name for entry in found]
    if len(set(names)) != len(names):
        raise Misconfigured("upstreams: two of them have the same name")
    return found


def _entry(number: int, given: object, environment: Mapping[str, str]) -> Entry:
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
    times = [float(given.get(key, 600.0)) for key in ("silence_s", "stall_s")]
    if min(times) <= 0:
        raise Misconfigured(f"{where}: silence_s and stall_s are seconds above 0")
    return Entry(name, url, keys, aliases, *times)


def _keys(where: str, given: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[str, ...]:
    keys = list(given.get("keys", []))
    if "key_env" in given:
        if not environment.get(given["key_env"]):
            raise Misconfigured(f"{where}.key_env: the environment has no {given['key_env']}")
        keys.append(environment[given["key_env"]])
    if not all(isinstance(key, str) and key for key in keys):
        raise Misconfigured(f"{where}.keys: each key is text")
    return tuple(keys)
