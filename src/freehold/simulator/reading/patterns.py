"""Patterns that a client's schema brings: asked only where no text could keep them busy for long."""

from __future__ import annotations

import re
from collections.abc import Callable

_LONGEST_PATTERN, _LONGEST_TEXT = 200, 64
_PLAIN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*+\]", re.DOTALL)
"""An escape or a set of characters: one place of a text, whatever stands in it."""
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_REPEATED = re.compile(r"[*+]|\{\d*,\d*\}")
_MOST_REPEATED = 2
"""Each of them multiplies what a text may cost by its length."""


def asked(pattern: str) -> Callable[[str], bool] | None:
    """Whether a text fits, as far as it is short; `None` for a pattern that is none, or might run away."""
    plain = _PLAIN.sub("x", pattern)
    repeated = len(_REPEATED.findall(plain)) - pattern.startswith("^")  # it is tried at one place only
    if len(pattern) > _LONGEST_PATTERN or _REPEATED_GROUP.search(plain) or repeated > _MOST_REPEATED:
        return None
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return None
    return lambda text: compiled.search(text[:_LONGEST_TEXT]) is not None
