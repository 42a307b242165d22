"""What a batch will use, with an interval, from what calls of its kind have used: arithmetic, no I/O.

The tokens of the inputs are known; those of the answers are predicted by lines in the input, fitted to the calls that
are known. The interval has two sources of doubt: that answers differ, and that the lines were fitted to few. It is one
of a sum, so it narrows with the square root of the number of calls; it cannot be narrower than the answers' own spread,
and with few known calls it is much wider. That is the truth and no defect: from 50 calls nobody knows the mean of
10,000 better than to a tenth or so.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.9
LEAST_KNOWN = 10
"""Fewer known calls than this say nothing that is worth an interval."""
_Z = 1.6448536269514722
"""The normal distribution's 95th percentile: 5 % on each side."""
PART_CALLS = 40
MOST_PARTS = 24
"""The known calls are cut by length into parts of so many at least, and so many parts at most."""
_CAUTION = 1.15
"""Lengths of answers are skewed, so that a small sample tends to show too little spread. Set on four families of
simulated traffic; that it holds for others is measured in `benchmarks/forecast.py`."""

Pair = tuple[int, int]
"""Tokens of the input (at least 1) and of the answer of one call."""


@dataclass(frozen=True, slots=True)
class Range:
    """Low, expected, high: with 90 % confidence between low and high."""

    low: float
    expected: float
    high: float


def output_tokens(batches: Sequence[Sequence[Pair]], asked: Sequence[int], most: float) -> Range | None:
    """Output tokens of further calls whose inputs have so many tokens each, at most `most` together.

    `batches` are the known calls, each batch's apart: where there are three or more, how much the batches differ from
    each other is allowed for too. `None`: too few are known. About 2 µs a known call and 0.5 µs an asked one.
    """
    pairs = sorted(pair for batch in batches for pair in batch)
    if len(pairs) < LEAST_KNOWN or not asked:
        return None
    lines = _fitted(pairs)
    borders = [line.upto for line in lines[:-1]]
    inputs: list[list[int]] = [[] for _ in lines]
    for x in asked:
        inputs[bisect_left(borders, x)].append(x)
    total = sum(line.at(xs) for line, xs in zip(lines, inputs, strict=True))
    total = min(max(total, float(len(asked))), most)
    variance = sum(line.doubt(xs) for line, xs in zip(lines, inputs, strict=True))
    variance += len(asked) ** 2 * _between(batches, lines, borders)
    relative = _CAUTION * _t(len(pairs) - 2 * len(lines)) * math.sqrt(variance) / total
    return Range(total * math.exp(-relative), total, min(most, total * math.exp(min(relative, 50.0))))


@dataclass(frozen=True, slots=True)
class _Line:
    """y = mean_y + slope·(x - mean_x) with a variance of `variance`·x**power, for inputs up to `upto`; fitted to calls
    of about that length, whose weights (x**-power) are `weight` together."""

    upto: int
    power: int
    weight: float
    mean_x: float
    mean_y: float
    slope: float
    spread_x: float
    """Weighed sum of squares of the inputs around their mean."""
    variance: float
    likelihood: float

    def at(self, xs: Sequence[int]) -> float:
        """What is expected of all these inputs."""
        return len(xs) * self.mean_y + self.slope * (sum(xs) - len(xs) * self.mean_x)

    def doubt(self, xs: Sequence[int]) -> float:
        """Variance of their sum around it: of the answers themselves, and of the line."""
        own = len(xs) if self.power == 0 else sum(float(x) ** self.power for x in xs)
        offset = sum(xs) - len(xs) * self.mean_x
        far = offset * offset / self.spread_x if self.spread_x else 0.0
        return self.variance * (own + len(xs) ** 2 / self.weight + far)


def _fitted(pairs: Sequence[Pair]) -> list[_Line]:
    """A line for each part of the known calls, by length of their inputs: answers that are cut off, or that are of two
    kinds, make no straight line over all of them."""
    parts = max(1, min(MOST_PARTS, len(pairs) // PART_CALLS))
    cuts = [len(pairs) * part // parts for part in range(parts + 1)]
    return [_fitting_best(pairs[low:high]) for low, high in itertools.pairwise(cuts)]


def _fitting_best(pairs: Sequence[Pair]) -> _Line:
    """Answers may differ as much for any input, or the more the longer it is: whichever is likelier."""
    return max((_fit(pairs, power) for power in (0, 1, 2)), key=lambda line: line.likelihood)


def _fit(pairs: Sequence[Pair], power: int) -> _Line:
    weighed = [(float(x) ** -power, x, y) for x, y in pairs]
    weight = sum(w for w, _, _ in weighed)
    mean_x = sum(w * x for w, x, _ in weighed) / weight
    mean_y = sum(w * y for w, _, y in weighed) / weight
    spread_x = sum(w * (x - mean_x) ** 2 for w, x, _ in weighed)
    together = sum(w * (x - mean_x) * (y - mean_y) for w, x, y in weighed)
    slope = together / spread_x if spread_x else 0.0
    left = sum(w * (y - mean_y - slope * (x - mean_x)) ** 2 for w, x, y in weighed)
    variance = left / max(1, len(pairs) - (2 if spread_x else 1))
    likelihood = -len(pairs) * math.log(max(variance, 1e-9)) - power * sum(math.log(x) for x, _ in pairs)
    return _Line(pairs[-1][0], power, weight, mean_x, mean_y, slope, spread_x, variance, likelihood)


def _between(batches: Sequence[Sequence[Pair]], lines: Sequence[_Line], borders: Sequence[int]) -> float:
    """Variance of the batches' own means around the lines, beyond what chance makes of them."""
    used = [batch for batch in batches if len(batch) >= LEAST_KNOWN]
    if len(used) < 3:
        return 0.0
    off, chance = [], []
    for batch in used:
        own = [lines[bisect_left(borders, x)] for x, _ in batch]
        off.append(sum(y - line.at((x,)) for line, (x, y) in zip(own, batch, strict=True)) / len(batch))
        alone = sum(line.variance * float(x) ** line.power for line, (x, _) in zip(own, batch, strict=True))
        chance.append(alone / len(batch) ** 2)
    mean = sum(off) / len(off)
    seen = sum((one - mean) ** 2 for one in off) / (len(off) - 1)
    return max(0.0, seen - sum(chance) / len(chance)) * (1 + 1 / len(used))


def _t(freedom: int) -> float:
    """The 95th percentile of Student's t (expansion in 1/freedom; right to 0.1 % from 5 on)."""
    z, n = _Z, float(max(5, freedom))
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n * n)
