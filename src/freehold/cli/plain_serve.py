"""`freehold serve` in its usual forms, read without the library of the command line.

A server lives long, and would keep ten megabytes of that library. Whatever is not plain here (`--help`, a mistake) is
left to `serve.py`, which tells of it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OPTIONS = {
    "--host": "host",
    "--port": "port",
    "--data": "data",
    "--config": "config",
    "--database": "database",
    "--upstream": "upstream",
    "--tools": "tools",
}
SWITCHES = {"--tools-reload": "tools_reload", "--unsafe-no-isolation": "unsafe_no_isolation"}


def flags_of(arguments: Sequence[str]) -> dict[str, Any] | None:
    """The flags behind `serve`, and `config` with them; `None`: they are not plain."""
    flags: dict[str, Any] = {}
    left = list(reversed(arguments))
    while left:
        name, equals, value = left.pop().partition("=")
        if name in SWITCHES and not equals:
            flags[SWITCHES[name]] = True
            continue
        if name not in OPTIONS or not (equals or left):
            return None
        value = value if equals else left.pop()
        if not equals and value.startswith("-"):
            return None
        if name == "--tools":
            flags.setdefault("tools", []).append(value)
        else:
            flags[OPTIONS[name]] = value
    if "port" in flags:
        port = flags["port"]
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            return None
        flags["port"] = int(port)
    return flags


def run(flags: dict[str, Any]) -> int:
    """Serve until told to stop; the exit code. Raises `Misconfigured`."""
    from freehold.cli.settings import configured
    from freehold.server import serve

    file = flags.pop("config", None) or os.environ.get("FREEHOLD_CONFIG") or None
    if "data" in flags:
        flags["data"] = Path(flags["data"])
    return serve(lambda: configured(flags, Path(file) if file else None))
