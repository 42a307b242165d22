"""The `metadata` of a resource: a small map of text to text that only the client gives a meaning."""

from __future__ import annotations

from collections.abc import Mapping

from freehold.errors import InvalidRequest

MOST_PAIRS = 16
MOST_KEY_CHARS = 64
MOST_VALUE_CHARS = 512


def new_metadata(given: Mapping[str, str] | None) -> dict[str, str]:
    """The map of a new resource. Raises `InvalidRequest` beyond 16 pairs, 64 and 512 characters."""
    return _checked(dict(given or {}))


def merged_metadata(
    current: Mapping[str, str], patch: Mapping[str, str | None] | None, *, empty_deletes: bool = False
) -> dict[str, str]:
    """`current` with the patch on it: text sets a key, null deletes it, and so does `""` where `empty_deletes`."""
    merged = dict(current)
    for key, value in (patch or {}).items():
        if value is None or (empty_deletes and value == ""):
            merged.pop(key, None)
        else:
            merged[key] = value
    return _checked(merged)


def _checked(metadata: dict[str, str]) -> dict[str, str]:
    if len(metadata) > MOST_PAIRS:
        raise _refused(f"metadata: {len(metadata)} pairs, at most {MOST_PAIRS} are taken.")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise _refused(f"metadata.{key[:MOST_KEY_CHARS]}: must be text.")
        if not 1 <= len(key) <= MOST_KEY_CHARS:
            raise _refused(f"metadata: the key {key[:80]!r} must have 1 to {MOST_KEY_CHARS} characters.")
        if len(value) > MOST_VALUE_CHARS:
            raise _refused(f"metadata.{key}: {len(value)} characters, at most {MOST_VALUE_CHARS} are taken.")
    return metadata


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(message, details={"error_code": "invalid_metadata"})
