"""Where a memory may stand in its store.

Rules: docstrings of the SDK's `memory_create_params.py`.
"""

from __future__ import annotations

import unicodedata

from freehold.errors import InvalidRequest

MOST_PATH_BYTES = 1024
MOST_SEGMENTS = 20


def checked_path(path: str, field: str = "path") -> str:
    """An absolute path of 1 to 20 names in NFC. Raises `InvalidRequest`, naming the rule it breaks."""
    broken = _broken_rule(path)
    if broken:
        raise InvalidRequest(f"{field}: {path[:120]!r} {broken}.")
    return path


def checked_prefix(prefix: str) -> str:
    """A path that ends with `/`; `/` is the whole store. Raises `InvalidRequest`."""
    if prefix != "/":
        if not prefix.endswith("/"):
            raise InvalidRequest(f"path_prefix: {prefix[:120]!r} must end with a slash, so that it means whole names.")
        checked_path(prefix[:-1], "path_prefix")
    return prefix


def _broken_rule(path: str) -> str | None:
    segments = path.split("/")[1:]
    if not path.startswith("/"):
        return "must begin with a slash"
    if len(segments) > MOST_SEGMENTS:
        return f"has more than {MOST_SEGMENTS} segments"
    if any(segment in ("", ".", "..") for segment in segments):
        return "has a segment that is empty, `.` or `..`"
    if any(unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp", "Cs") for char in path):
        return "has a control or format character or a line separator"
    if not unicodedata.is_normalized("NFC", path):
        return "is not in Unicode Normalization Form C"
    if len(path.encode("utf-8")) > MOST_PATH_BYTES:
        return f"is longer than {MOST_PATH_BYTES} bytes"
    return None
