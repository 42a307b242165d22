"""Names for things: a prefix that tells the kind, then 24 characters that sort by time of making.

The prefixes are those of the Claude API (`agent_`, `env_`, `sesn_`, `sevt_`, `file_`, `msg_`, `req_` ...); to the SDK
every id is opaque.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import lru_cache

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

NewId = Callable[[str], str]
"""From a prefix without underscore (`"sesn"`) to a fresh id (`"sesn_01…"`)."""


_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
"""Two digits at a time: half the divisions."""
_DIGIT_OF_BYTE = bytes(ord(_ALPHABET[byte % 62]) for byte in range(256))
"""Eight of the digits come up a little more often: of 95 random bits less than half of one is lost."""
_RANDOM_DIGITS = 16
_DRAWN_AT_ONCE = 256
"""Ids for which one system call fetches randomness: each such call may hand the interpreter to another thread."""
_drawn: list[str] = []
os.register_at_fork(after_in_child=_drawn.clear)


def new_id(prefix: str) -> str:
    """A fresh id such as `sesn_0PbXk…`: unique without asking anyone, and ordered by the millisecond."""
    return f"{prefix}_{time_digits(time.time_ns() // 1_000_000)}{_random()}"


@lru_cache(maxsize=4)
def time_digits(milliseconds: int) -> str:
    """8 digits, enough until the year 8888, which sort as the times do."""
    digits = []
    for _ in range(4):
        milliseconds, rest = divmod(milliseconds, 3844)
        digits.append(_PAIRS[rest])
    digits.reverse()
    return "".join(digits)


def _random() -> str:
    """16 digits; taken out of the list by one step, so that threads never get the same."""
    try:
        return _drawn.pop()
    except IndexError:
        digits = os.urandom(_DRAWN_AT_ONCE * _RANDOM_DIGITS).translate(_DIGIT_OF_BYTE).decode("ascii")
        _drawn.extend(digits[at : at + _RANDOM_DIGITS] for at in range(_RANDOM_DIGITS, len(digits), _RANDOM_DIGITS))
        return digits[:_RANDOM_DIGITS]
