"""The `write` tool: a whole file, put in place at once or not at all."""

from __future__ import annotations

import os
import stat

from freehold.environments.tools.places import Places
from freehold.environments.tools.results import ToolFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(arguments: dict[str, Any], places: Places) -> str:
    """Write it, with the folders above it."""
    name, data = arguments["file_path"], arguments["content"].encode("utf-8", "replace")
    path = places.find(name, to_write=True)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    put(path, data, name)
    return f"wrote {len(data)} bytes to {name}"


def put(path: str, data: bytes, name: str) -> None:
    """Replace the file at `path`; its mode stays. A disk that is full leaves the old file as it was.

    Raises:
        ToolFailed: what is there is not a regular file.
    """
    mode = _mode(path, name)
    fresh = os.path.join(os.path.dirname(path), f".{os.path.basename(path)[:200]}.{os.getpid()}~")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.chmod(fresh, mode)
        os.replace(fresh, path)
    except OSError:
        os.unlink(fresh)
        raise


def _mode(path: str, name: str) -> int:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return 0o644
    if stat.S_ISDIR(found.st_mode):
        raise ToolFailed(f"{name} is a directory")
    if not stat.S_ISREG(found.st_mode):
        raise ToolFailed(f"{name} is not a regular file")
    return stat.S_IMODE(found.st_mode)
