"""Learns, from judged requests of one route, how likely the cheap model's answer is worse than the strong one's.

TF-IDF over words with logistic regression, one step a judged request (AdaGrad), so that nothing is
ever trained in a heap: a score given before its request was learned is an honest one. Plain Python; a look takes
microseconds. Words are kept as hashes only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import repeat
from math import log, sqrt, tanh
from zlib import crc32

from freehold.gateway.routing.signals import TO_WORDS

MOST_FEATURES = 60_000
"""Of one route; a word that comes later is not learned."""
MOST_WORDS = 600
"""Of one request: what four kilobytes hold."""
_NEW = 1e9
"""Added for every feature that was never seen, far above what the rest can add up to."""
_RATE = 0.2
_DECAY = 1e-5


def features_of(text: bytes, words: Sequence[bytes] | None = None) -> set[int]:
    """The hashed words of a text in small letters, each once, and its length by powers of two. Of text beyond ASCII the
    characters count, by twos.

    Pairs of words would tell a little more (APGR 0.667 against 0.655 in five folds of the committed data) and take as
    long again; a decision has fifteen microseconds. `words` are those of the text, where they have been found already.
    """
    found = set(map(crc32, (text.translate(TO_WORDS).split() if words is None else words)[:MOST_WORDS]))
    if not text.isascii():
        signs = text.decode("utf-8", "ignore")[: 2 * MOST_WORDS]
        found.update(crc32(signs[at : at + 2].encode()) for at in range(len(signs) - 1) if signs[at] > "\x7f")
    found.add(len(text).bit_length())
    return found


class Learner:
    """What was learned of one route."""

    def __init__(self) -> None:
        self.count = 0
        self._seen: dict[int, int] = {}
        self._weights: dict[int, float] = {}
        self._steps: dict[int, float] = {}
        self._bias = 0.0
        self._bias_step = 1e-3
        self._table: dict[int, complex] = {}
        self._rarest = complex(0.0, _NEW + 1.0)
        self._table_bias = 0.0

    def settle(self) -> None:
        """Make `look` know what was learned by now; takes a while, so not after every request."""
        count, weights = self.count + 1, self._weights
        weighed = ((feature, log(count / (seen + 1)) + 1) for feature, seen in self._seen.items())
        # Two sums in one: the real parts are what pulls to one side, the imaginary ones the length of the vector.
        self._table = {feature: complex(weights.get(feature, 0.0) * idf, idf * idf) for feature, idf in weighed}
        self._rarest = complex(0.0, _NEW + (log(count) + 1) ** 2)
        self._table_bias = self._bias

    def look(self, features: Collection[int]) -> tuple[float, float, float]:
        """(`chance`, how many of the features are new, how rare all together are) as of the last `settle`."""
        total = sum(map(self._table.get, features, repeat(self._rarest)), 0j)
        new = total.imag // _NEW
        rarity = total.imag - new * _NEW
        return _logistic(self._table_bias + total.real / sqrt(rarity or 1.0)), new, rarity

    def chance(self, features: Collection[int]) -> float:
        """How likely the cheap answer is worse, from 0 to 1."""
        weights = self._weights
        return _logistic(
            self._bias
            + sum([weights[feature] * value for feature, value in self._vector(features) if feature in weights])
        )

    @property
    def vocabulary(self) -> int:
        """How many features are known."""
        return len(self._seen)

    def see(self, features: Collection[int]) -> None:
        """Count how usual features are."""
        seen = self._seen
        self.count += 1
        for feature in features:
            if feature in seen:
                seen[feature] += 1
            elif len(seen) < MOST_FEATURES:
                seen[feature] = 1

    def learn(self, features: Collection[int], worse: float) -> None:
        """One judged request: `worse` is 1 where the cheap answer was worse, else 0."""
        vector = [(feature, value) for feature, value in self._vector(features) if feature in self._seen]
        weights, steps = self._weights, self._steps
        off = _logistic(self._bias + sum([weights.get(feature, 0.0) * value for feature, value in vector])) - worse
        for feature, value in vector:
            weight = weights.get(feature, 0.0)
            gradient = off * value + _DECAY * weight
            step = steps[feature] = steps.get(feature, 0.01) + gradient * gradient
            weights[feature] = weight - _RATE * gradient / sqrt(step)
        self._bias_step += off * off
        self._bias -= _RATE * off / sqrt(self._bias_step)

    def _vector(self, features: Collection[int]) -> list[tuple[int, float]]:
        """Rare features weigh more; the length of the vector is one."""
        seen, count = self._seen.get, self.count + 1
        weighed = [log(count / (seen(feature, 0) + 1)) + 1 for feature in features]
        length = sqrt(sum([weight * weight for weight in weighed])) or 1.0
        return [(feature, weight / length) for feature, weight in zip(features, weighed, strict=True)]


def _logistic(x: float) -> float:
    return 0.5 + 0.5 * tanh(0.5 * x)
