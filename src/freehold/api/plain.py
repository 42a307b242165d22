"""Bodies of our own routes, which no contract describes: a few named fields of plain kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freehold.errors import InvalidRequest

_KINDS: Mapping[type, str] = {str: "text", int: "a whole number", bool: "true or false", list: "a list"}


def fields_of(body: Mapping[str, Any], known: Mapping[str, type], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields, checked: each known and of its kind, the required ones there. Raises `InvalidRequest`."""
    for name, value in body.items():
        if name not in known:
            raise InvalidRequest(f"{name[:80]}: there is no such field here. Known: {', '.join(known)}.")
        if type(value) is not known[name]:
            raise InvalidRequest(f"{name}: must be {_KINDS[known[name]]}.")
    for name in required:
        if name not in body:
            raise InvalidRequest(f"{name}: is required.")
    return dict(body)
