"""The bytes of a head that come again: a head that is known need not be parsed. See `repeated` for what it means."""

from __future__ import annotations

import re

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)(?=\r\n)", re.IGNORECASE)
_LENGTH_DIGITS = 12


class SameHead:
    """The bytes of a head that was parsed and taken, by which the next one is known again, whatever its length says."""

    __slots__ = ("_after", "_after_mark", "_before", "_before_mark")

    def __init__(self, before: bytes, after: bytes) -> None:
        """`before` goes up to the digits of its `content-length`, `after` from there to the end of the blank line."""
        self._before, self._after = before, after
        self._before_mark, self._after_mark = hash(before), hash(after)

    @classmethod
    def of(cls, data: bytes) -> SameHead | None:
        """Of the request that these bytes begin with; `None` where its head is not all here, or tells no length."""
        end = data.find(b"\r\n\r\n") + 4
        found = _LENGTH.search(data, 0, end)
        if end < 4 or found is None:
            return None
        return cls(data[: found.start(1)], data[found.end(1) : end])

    def body_of(self, data: bytes) -> bytes | None:
        """The body, if these bytes are this head again and exactly its body; else `None`. The hashes are keyed, so
        that how long this takes tells nothing of a key in the head.
        """
        at = len(self._before)
        before = data[:at]
        if hash(before) != self._before_mark:
            return None
        end = data.find(b"\r", at, at + _LENGTH_DIGITS + 1)
        if end < 0:
            return None
        start = end + len(self._after)
        after = data[end:start]
        if hash(after) != self._after_mark or before != self._before or after != self._after:
            return None
        digits = data[at:end]
        return data[start:] if digits.isdigit() and int(digits) == len(data) - start else None
