"""The `limits` of an environment, an extension of ours: what a box of it may use, within what the operator allows.

    {"type": "cloud", "limits": {"memory_bytes": 2147483648, "processes": 512, "cpu_cores": 2, "disk_bytes": 4294967296,
                                 "command_s": 600}}

What is left out takes the default of every box. The operator's bounds hold when a box opens, too, should they have
become lower since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from freehold.config import setting
from freehold.environments.base import Limits
from freehold.errors import InvalidRequest

_LEAST: dict[str, float] = {
    "memory_bytes": 64 << 20,
    "processes": 8,
    "cpu_cores": 0.1,
    "disk_bytes": 16 << 20,
    "command_s": 1,
}


@dataclass(frozen=True, slots=True)
class BoundSettings:
    """The most that an environment may ask for."""

    most_box_memory_bytes: int = setting(8 << 30, "No environment may give its boxes more memory.", unit="bytes")
    most_box_processes: int = setting(4096, "No environment may give its boxes more processes.")
    most_box_cpu_cores: float = setting(4.0, "No environment may give its boxes more of the processors.")
    most_box_disk_bytes: int = setting(20 << 30, "No environment may give its sessions more disk.", unit="bytes")
    most_box_command_s: float = setting(3600.0, "No command in a box may take longer.", unit="s")

    def most(self, name: str) -> float:
        """The bound of that member of `limits`."""
        return float(getattr(self, f"most_box_{name}"))


def check_limits(given: object, settings: BoundSettings) -> dict[str, int | float]:
    """For the API: these `limits`, when they can be had.

    Raises:
        InvalidRequest: names the member that cannot, and the range it must lie in.
    """
    if not isinstance(given, dict):
        raise InvalidRequest("limits: must be an object")
    for name, value in given.items():
        if name not in _LEAST:
            raise InvalidRequest(f"limits.{str(name)[:100]}: there is no such limit; there are {', '.join(_LEAST)}")
        whole = name in ("memory_bytes", "processes", "disk_bytes")
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise InvalidRequest(f"limits.{name}: must be a {'whole ' if whole else ''}number")
        if not _LEAST[name] <= value <= settings.most(name):
            raise InvalidRequest(
                f"limits.{name}: must be from {_LEAST[name]:g} to {settings.most(name):.15g} on this server"
            )
    return dict(given)


def limits_of(environment: Mapping[str, Any], settings: BoundSettings) -> Limits:
    """What a box with that `config` may use. A single file may take half of a larger disk, and all of a smaller."""
    asked = environment.get("limits") or {}
    default = Limits()
    found = {name: type(getattr(default, name))(min(value, settings.most(name))) for name, value in asked.items()}
    if "disk_bytes" in found:
        found["file_bytes"] = min(found["disk_bytes"], max(default.file_bytes, found["disk_bytes"] // 2))
    return replace(default, **found)
