"""What a batch will use, with an interval, from what calls of its kind have used: arithmetic on sums, no I/O.

The tokens of the input are counted; those of the answers are predicted by a straight line in the input, fitted to the
calls that are known. The interval has two sources of doubt: that answers differ, and that the line was fitted to few. It
is one of a sum, so it narrows with the square root of the number of calls; it cannot be narrower than the answers' own
spread, and with few known calls it is much wider. That is the truth and no defect: from 50 calls nobody knows the mean
of 10,000 better than to a tenth or so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.9
LEAST_KNOWN = 10
"""Fewer known calls than this say nothing that is worth an interval."""
_Z = 1.6448536269514722
"""The normal distribution's 95th percentile: 5 % on each side."""
_CAUTION = 1.06
"""Lengths of answers are skewed, so that a small sample tends to show too little spread. Set on four families of
simulated traffic; that it holds for others is measured in `benchmarks/forecast.py`."""


@dataclass(frozen=True, slots=True)
class Known:
    """Sums over calls that have been answered: x is the tokens of the input, y those of the answer."""

    count: int = 0
    x: int = 0
    y: int = 0
    xx: int = 0
    xy: int = 0
    yy: int = 0

    def __add__(self, other: Known) -> Known:
        return Known(
            self.count + other.count,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
            self.yy + other.yy,
        )


@dataclass(frozen=True, slots=True)
class Range:
    """Low, expected, high: with 90 % confidence between low and high."""

    low: float
    expected: float
    high: float

    def scaled(self, factor: float, more: float = 0.0) -> Range:
        """Each of the three times `factor`, plus `more`."""
        return Range(self.low * factor + more, self.expected * factor + more, self.high * factor + more)


def known(pairs: Sequence[tuple[int, int]]) -> Known:
    """The sums over (input tokens, output tokens)."""
    return sum((Known(1, x, y, x * x, x * y, y * y) for x, y in pairs), Known())


def output_tokens(batches: Sequence[Known], *, calls: int, input_tokens: float, most: float) -> Range | None:
    """Output tokens of `calls` further calls whose inputs have `input_tokens` together, at most `most`.

    `batches` are the known calls, each batch's apart: where there are three or more, how much the batches differ from
    each other is allowed for too. `None`: too few are known.
    """
    whole = sum(batches, Known())
    if whole.count < LEAST_KNOWN or calls < 1:
        return None
    line = _fit(whole)
    offset = input_tokens / calls - whole.x / whole.count
    total = calls * (whole.y / whole.count + line.slope * offset)
    doubt = 1 / whole.count + (offset * offset / line.spread_x if line.spread_x else 0.0)
    variance = line.variance * (calls + calls * calls * doubt) + calls * calls * _between(batches, line)
    total = min(max(total, float(calls)), most)
    relative = _CAUTION * _t(whole.count - 2) * math.sqrt(variance) / total
    return Range(total * math.exp(-relative), total, min(most, total * math.exp(min(relative, 50.0))))


@dataclass(frozen=True, slots=True)
class _Line:
    slope: float
    variance: float
    """Of one answer around the line."""
    spread_x: float
    """Sum of squares of the inputs around their mean."""


def _fit(sums: Known) -> _Line:
    mean_x, mean_y = sums.x / sums.count, sums.y / sums.count
    spread_x = max(0.0, sums.xx - sums.count * mean_x * mean_x)
    spread_y = max(0.0, sums.yy - sums.count * mean_y * mean_y)
    if spread_x < 1e-9 * max(1.0, float(sums.xx)):  # all inputs are of one length
        return _Line(0.0, spread_y / (sums.count - 1), 0.0)
    together = sums.xy - sums.count * mean_x * mean_y
    slope = together / spread_x
    return _Line(slope, max(0.0, spread_y - slope * together) / (sums.count - 2), spread_x)


def _between(batches: Sequence[Known], line: _Line) -> float:
    """Variance of the batches' own means around the line, beyond what chance makes of them."""
    used = [one for one in batches if one.count >= LEAST_KNOWN]
    if len(used) < 3:
        return 0.0
    levels = [one.y / one.count - line.slope * one.x / one.count for one in used]
    mean = sum(levels) / len(levels)
    seen = sum((level - mean) ** 2 for level in levels) / (len(levels) - 1)
    chance = sum(line.variance / one.count for one in used) / len(used)
    return max(0.0, seen - chance) * (1 + 1 / len(used))


def _t(freedom: int) -> float:
    """The 95th percentile of Student's t (expansion in 1/freedom; right to 0.1 % from 5 on)."""
    z, n = _Z, float(max(5, freedom))
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n * n)
