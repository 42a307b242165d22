"""Whether the prompts of late are like those that a route has learned from. Needs no judged answers, so it is quick.

A few figures of a prompt (its length, how much of it is numbers, how much was seen before, how rare
its words are, what the learner says) are
compared: their moving average over the last fifty or so that are looked at, with mean and spread of the judged ones.
"""

from __future__ import annotations

import math

_PACE = 1 / 50
_FAR = 5.0
"""Standard errors."""
_LEAST = 50
"""So many must have been judged before anything can be called strange."""
_NARROWEST = 0.02
_NO_DIGITS = bytes(byte for byte in range(256) if not 0x30 <= byte <= 0x39)
Figures = tuple[float, float, float, float, float]


def shape_of(text: bytes) -> tuple[float, float]:
    """(its length by powers of two, which part of it are digits)."""
    size = len(text)
    return math.log2(size + 1), len(text.translate(None, _NO_DIGITS)) / (size or 1)


class Drift:
    """Of one route."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = [0.0] * 5
        self._square = [0.0] * 5
        self._late: list[float] | None = None
        self._limits: tuple[list[float], list[float]] | None = None

    def judged(self, seen: Figures) -> None:
        """A prompt that is learned from: its shape, known part and rarity of its words, what the learner says."""
        self._count += 1
        self._limits = None
        for place, value in enumerate(seen):
            off = value - self._mean[place]
            self._mean[place] += off / self._count
            self._square[place] += off * (value - self._mean[place])

    def served(self, seen: Figures) -> bool:
        """A prompt that is to be answered; whether those of late are familiar."""
        if self._count < _LEAST:
            return True
        if self._limits is None:
            self._limits = self._near()
        low, high = self._limits
        if self._late is None:
            self._late = list(self._mean)
        late, familiar = self._late, True
        for place, value in enumerate(seen):
            now = late[place]
            now += _PACE * (value - now)
            late[place] = now
            if not low[place] < now < high[place]:
                familiar = False
        return familiar

    def _near(self) -> tuple[list[float], list[float]]:
        """Between which values the moving average of each figure is familiar."""
        error = _FAR * math.sqrt(_PACE / (2 - _PACE))
        reach = [max(math.sqrt(square / self._count), _NARROWEST) * error for square in self._square]
        near = list(zip(self._mean, reach, strict=True))
        return [mean - far for mean, far in near], [mean + far for mean, far in near]
