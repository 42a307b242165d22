"""The first line a supervisor gets: what its box is, where the session's folders are, and what its programs may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freehold.environments.base import BoxSpec
from freehold.environments.limits import Limiter
from freehold.environments.rootfs import Base

_OPEN_FILES = 1024
FILE_TOOL_S = 60.0
"""How long read, write, edit, glob or grep may take."""


def start_line(
    spec: BoxSpec,
    places: Sequence[tuple[str, str, bool]],
    environment: Mapping[str, str],
    limiter: Limiter,
    egress: Mapping[str, int] | None = None,
    base: Base | None = None,
) -> dict[str, Any]:
    """`places`: what file tools reach, as (name for the model, path, writable); the first is where bash begins.

    `egress`: the `port` to listen on, in a box that has a way out. `base`: where bash is, and where it begins.
    """
    limits = spec.limits
    return {
        "epoch": spec.epoch,
        "places": [list(place) for place in places],
        "environment": dict(environment),
        "egress": egress,
        "shell": list(base.shell) if base else [],
        "directory": base.directory if base else "",
        "limits": {
            "file_bytes": limits.file_bytes,
            "open_files": _OPEN_FILES,
            "processes": limits.processes,
            "address_bytes": None if "memory" in limiter.controls else limits.memory_bytes,
            "output_bytes": limits.output_bytes,
            "file_tool_s": FILE_TOOL_S,
            "command_s": limits.command_s,
        },
    }
