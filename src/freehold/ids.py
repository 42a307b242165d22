"""Names for things: a prefix that tells the kind, then 24 characters that sort by time of making.

The prefixes are those of the Claude API (`agent_`, `env_`, `sesn_`, `sevt_`, `file_`, `msg_`, `req_` ...); to the SDK
every id is opaque.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

NewId = Callable[[str], str]
"""From a prefix without underscore (`"sesn"`) to a fresh id (`"sesn_01…"`)."""


_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
"""Two digits at a time: half the divisions, and an id is made for every call."""


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width // 2):
        number, rest = divmod(number, 3844)
        digits.append(_PAIRS[rest])
    digits.reverse()
    return "".join(digits)


def encode(milliseconds: int, randomness: int) -> str:
    """24 characters: 8 of time (enough until the year 8888), 16 of randomness (95 bits)."""
    return _base62(milliseconds, 8) + _base62(randomness, 16)


_DRAWN_AT_ONCE = 256
"""Ids for which one system call fetches randomness: each such call may hand the interpreter to another thread."""
_drawn: list[int] = []
os.register_at_fork(after_in_child=_drawn.clear)


def _randomness() -> int:
    """96 random bits; taken out of the list by one step, so that threads never get the same."""
    try:
        return _drawn.pop()
    except IndexError:
        drawn = os.urandom(12 * _DRAWN_AT_ONCE)
        _drawn.extend(int.from_bytes(drawn[at : at + 12], "big") for at in range(12, len(drawn), 12))
        return int.from_bytes(drawn[:12], "big")


def new_id(prefix: str) -> str:
    """A fresh id such as `sesn_0PbXk…`: unique without asking anyone, and ordered by the millisecond."""
    return f"{prefix}_{encode(time.time_ns() // 1_000_000, _randomness())}"
