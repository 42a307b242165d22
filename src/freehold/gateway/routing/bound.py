"""How far traffic may go to the cheap model: only while its measured loss stays under a bound with 95 % confidence.

Judged requests (what the learner had said of each before, and whether the cheap answer was worse) are sorted by score;
beginning with nothing, more and more of them are given to the cheap model in fixed steps, until the upper confidence
bound of the loss passes the limit. The steps are fixed before the losses are looked at, so that no share is picked for
having been lucky. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

LEAST_JUDGED = 200
"""Fewer judged requests move nothing."""
_SIGMAS = 1.645
"""One-sided, 95 %."""
_STEPS = 20
_RULE_OF_THREE = 3.0
"""The 95 % bound of a rate of which no case was seen in n is 3/n; so no bound is smaller than that."""


class Judged(NamedTuple):
    """One request that both models have answered. `loss` is the strong answer's worth less the cheap one's, -1 to 1."""

    score: float
    loss: float


class Gate(NamedTuple):
    """Requests with a score under `threshold` may go to the cheap model; `share` of those judged have one."""

    threshold: float
    share: float
    loss_bound: float
    """The upper bound of the loss at this threshold, of all requests."""


ALL = 2.0
"""A threshold above every score."""
CLOSED = Gate(0.0, 0.0, 0.0)


def gate(judged: Sequence[Judged], most_loss: float) -> Gate:
    """The widest gate that keeps the loss of all requests under `most_loss`."""
    count = len(judged)
    if count < LEAST_JUDGED:
        return CLOSED
    ordered = sorted(judged)
    found, total, squares, done = CLOSED, 0.0, 0.0, 0
    for step in range(1, _STEPS + 1):
        upto = count * step // _STEPS
        for one in ordered[done:upto]:
            total += one.loss
            squares += one.loss * one.loss
        done = upto
        mean = total / count
        deviation = math.sqrt(max(squares / count - mean * mean, 0.0))
        bound = mean + max(_SIGMAS * deviation / math.sqrt(count), _RULE_OF_THREE / count)
        if bound > most_loss:
            break
        threshold = ordered[upto].score if upto < count else ALL
        found = Gate(threshold, upto / count, bound)
    return found
