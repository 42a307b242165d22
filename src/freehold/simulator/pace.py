"""How fast a reply comes: time to the first token and tokens per second, each drawn from a distribution, or at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

_NORMAL = NormalDist()
_LONGEST_S = 600.0


@dataclass(frozen=True, slots=True)
class Spread:
    """A log-normal distribution: half of all values are below `median`, two thirds within a `factor` of it."""

    median: float
    factor: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is not a distribution."""
        if not (math.isfinite(self.median) and self.median >= 0 and math.isfinite(self.factor) and self.factor >= 1):
            raise ValueError(f"a spread needs a median of 0 or more and a factor of 1 or more, not {self}")

    def draw(self, fraction: float) -> float:
        """The value at that fraction (0 to 1) of the distribution."""
        if self.factor == 1 or not self.median:
            return self.median
        return self.median * math.exp(math.log(self.factor) * _NORMAL.inv_cdf(min(max(fraction, 1e-6), 1 - 1e-6)))


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of replies. `tokens_per_s` of `None`: everything at once after the first token."""

    first_token_s: Spread = Spread(0.0)
    tokens_per_s: Spread | None = None

    def draw(self, first: float, speed: float) -> Drawn:
        """The pace of one reply, from two numbers in [0, 1)."""
        rate = self.tokens_per_s.draw(speed) if self.tokens_per_s else 0.0
        return Drawn(min(self.first_token_s.draw(first), _LONGEST_S), 1 / rate if rate else 0.0)


@dataclass(frozen=True, slots=True)
class Drawn:
    """The pace of one reply, in seconds."""

    first_s: float
    per_token_s: float

    def whole_s(self, tokens: int) -> float:
        """How long an answer of so many tokens takes that is sent in one piece."""
        return min(self.first_s + tokens * self.per_token_s, _LONGEST_S)


AT_ONCE = Pace()
