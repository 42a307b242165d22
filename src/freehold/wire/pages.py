"""Lists, a page at a time: the three forms of the API, and the opaque cursor between two pages.

A cursor holds where the next page begins and under which order and filters that was so. It is no secret and grants
nothing: whoever reads a page filters by workspace anyway. Which form which list has is in the API's own types.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from freehold.errors import InvalidRequest

_PREFIX = "page_"
_MAX_CURSOR_CHARS = 4096
_CHECK_BYTES = 6
"""Enough that no foreign or mistyped text passes by chance."""


def id_page(data: Sequence[Any], has_more: bool) -> dict[str, Any]:
    """Models and message batches: the client asks on with `after_id` or `before_id`. Entries must have an `id`."""
    return {
        "data": data,
        "has_more": has_more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def cursor_page(data: Sequence[Any], next_page: str | None) -> dict[str, Any]:
    """Nearly every list: the client asks on with `page`. `next_page` is always there, null at the end."""
    return {"data": data, "next_page": next_page}


def two_way_page(data: Sequence[Any], prev_page: str | None, next_page: str | None) -> dict[str, Any]:
    """Sessions only: both directions."""
    return {"data": data, "prev_page": prev_page, "next_page": next_page}


def encode_cursor(position: Mapping[str, Any]) -> str:
    """A cursor from JSON values: where to go on (`at_us`, `id`) together with the order and filters it is good for."""
    payload = msgspec.json.encode(dict(position), order="sorted")
    return _PREFIX + base64.urlsafe_b64encode(_check(payload) + payload).decode().rstrip("=")


def decode_cursor(
    text: str, expected: Mapping[str, Any], types: Mapping[str, type | tuple[type, ...]] | None = None
) -> dict[str, Any]:
    """What `encode_cursor` was given. `expected` is what must be as it was then: order, filters.

    `types` names the remaining keys with their types; given, the cursor must have exactly these and no others, so that
    a forged one is a 400 as well and never reaches a query.

    Raises:
        InvalidRequest: the cursor is not one of ours, or belongs to a list with another order or filter.
    """
    cursor = _open(text)
    for key, value in expected.items():
        if key not in cursor or cursor[key] != value:
            raise InvalidRequest(f"page: this cursor belongs to a list with another {key}. Start again without `page`.")
    if types is not None and (
        cursor.keys() != expected.keys() | types.keys() or not all(_is(cursor[key], types[key]) for key in types)
    ):
        raise _foreign()
    return cursor


def _open(text: str) -> dict[str, Any]:
    if not text.startswith(_PREFIX) or len(text) > _MAX_CURSOR_CHARS or not text.isascii():
        raise _foreign()
    encoded = text.removeprefix(_PREFIX)
    try:
        sealed = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise _foreign() from None
    payload = sealed[_CHECK_BYTES:]
    if sealed[:_CHECK_BYTES] != _check(payload):
        raise _foreign()
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _foreign() from None


def _check(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_CHECK_BYTES).digest()


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not (isinstance(value, bool) and kind is int)


def _foreign() -> InvalidRequest:
    return InvalidRequest("page: this is not a cursor of this list. Use `next_page` of an answer as it came.")
