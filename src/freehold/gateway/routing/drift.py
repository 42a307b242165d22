"""Whether the prompts of late are like those that a route has learned from. Needs no judged answers, so it is quick.

A few figures of every prompt (its length, how much of it is numbers, how much was seen before, what the learner says)
are compared: their moving average over the last fifty or so with mean and spread of the judged ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_PACE = 1 / 50
_FAR = 5.0
"""Standard errors."""
_LEAST = 50
"""So many must have been judged before anything can be called strange."""
_NARROWEST = 0.02
Figures = tuple[float, float, float, float]


def shape_of(text: bytes) -> tuple[float, float]:
    """(its length by powers of two, which part of its words are numbers)."""
    words = text.split()
    return math.log2(len(text) + 1), sum([word[:1].isdigit() for word in words]) / (len(words) or 1)


class Drift:
    """Of one route."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = [0.0, 0.0, 0.0, 0.0]
        self._square = [0.0, 0.0, 0.0, 0.0]
        self._late: list[float] | None = None

    def judged(self, seen: Figures) -> None:
        """A prompt that is learned from: its shape, the known part of its words, what the learner says."""
        self._count += 1
        for place, value in enumerate(seen):
            off = value - self._mean[place]
            self._mean[place] += off / self._count
            self._square[place] += off * (value - self._mean[place])

    def served(self, seen: Figures) -> bool:
        """A prompt that is to be answered; whether those of late are familiar."""
        if self._count < _LEAST:
            return True
        late = self._late
        if late is None:
            late = self._late = list(self._mean)
        for place, value in enumerate(seen):
            late[place] += _PACE * (value - late[place])
        return self.distance(late) < _FAR

    def distance(self, late: Sequence[float]) -> float:
        """How far off the strangest figure is, in standard errors of a moving average."""
        error = math.sqrt(_PACE / (2 - _PACE))
        spreads = (math.sqrt(square / self._count) for square in self._square)
        return max(
            abs(now - mean) / (max(spread, _NARROWEST) * error)
            for now, mean, spread in zip(late, self._mean, spreads, strict=True)
        )
