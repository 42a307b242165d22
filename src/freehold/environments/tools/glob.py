"""The `glob` tool: files by pattern, the newest first."""

from __future__ import annotations

import itertools
import os
import pathlib

from freehold.environments.tools.places import Places
from freehold.environments.tools.results import ToolFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RESULTS = 200
_LOOKED_AT = 50_000


def run(arguments: dict[str, Any], places: Places) -> str:
    """The paths, one per line."""
    pattern = arguments["pattern"]
    if not pattern or pattern.startswith("/") or ".." in pattern.split("/"):
        raise ToolFailed("the pattern must be relative and without '..'; give the folder as `path`")
    root = places.find(arguments.get("path") or ".")
    found = _matches(root, pattern)
    if not found:
        return "no matches"
    found.sort(key=_modified, reverse=True)
    lines = [places.shown(path) for path in found[:RESULTS]]
    if len(found) > RESULTS:
        lines.append(f"[{len(found) - RESULTS} older matches are not shown; narrow the pattern]")
    return "\n".join(lines)


def _matches(root: str, pattern: str) -> list[str]:
    try:
        walk = itertools.islice(pathlib.Path(root).glob(pattern), _LOOKED_AT)
        return [str(path) for path in walk if _inside(str(path), root)]
    except (ValueError, NotImplementedError) as failure:
        raise ToolFailed(f"pattern {pattern!r}: {failure}") from None


def _inside(path: str, root: str) -> bool:
    """A link that leads out of the folder is not a match in it."""
    real = os.path.realpath(path)
    return real == root or real.startswith(root.rstrip("/") + "/")


def _modified(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
