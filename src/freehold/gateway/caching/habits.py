"""How soon a prefix is asked for again, by kind of prefix: what is learned of a route, and what keeping is worth then.

A prefix's occurrence is followed by another within five minutes, within an hour, or not. From these three chances and
the price's rates follows what a token will cost from now on for each way to keep it. Prefixes that have been seen once
or more are counted apart from new ones. Pure arithmetic; times come from the caller.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Keeping = Literal["none", "5m", "1h"]
FIVE_MINUTES_US = 300_000_000
HOUR_US = 3_600_000_000
GENERATIONS = 3
"""New, seen once before, seen more often."""
_PINGS = 11
"""A prefix is kept alive for an hour at most."""
_REMEMBERED = 600.0
"""Occurrences; beyond, older ones count half, so that a change shows."""
_OPEN_WEIGHT = 0.6
"""What an occurrence counts as not followed, while it is not yet known."""
_LATE_PRIOR = (0.3, 0.7)
_LENT = 2.0
"""The weight of what other generations have seen, in occurrences."""


class Prices(NamedTuple):
    """What a token costs relative to plain input."""

    write_5m: float
    write_1h: float
    read: float


@dataclass(slots=True)
class Chances:
    """Counts of one generation of one kind of prefix."""

    prior: tuple[float, float]
    soon: float = 0.0
    """Followed within five minutes."""
    not_soon: float = 0.0
    late: float = 0.0
    """Followed later, within an hour."""
    never: float = 0.0
    open: int = 0
    """Not yet known whether soon."""
    open_late: int = 0
    """Not soon, and not yet known whether late."""
    waits: list[float] = field(default_factory=lambda: [0.0] * (_PINGS + 1))
    """Of the late ones: after how many times five minutes."""

    def of(self, others: tuple[float, float, float, float]) -> tuple[float, float]:
        """(chance of soon, chance of late). `others`: soon, not soon, late and never of the other generations, which
        count a little while there is little of one's own."""
        yes, no = self.prior
        soon_too, not_soon_too, late_too, never_too = others
        seen = self.soon + self.not_soon + _OPEN_WEIGHT * self.open
        soon = (self.soon + yes + soon_too) / (seen + yes + no + soon_too + not_soon_too)
        seen = self.late + self.never + _OPEN_WEIGHT * self.open_late
        late = (self.late + _LATE_PRIOR[0] + late_too) / (seen + sum(_LATE_PRIOR) + late_too + never_too)
        soon = min(soon, 0.995)
        return soon, (1 - soon) * min(late, 0.995)

    def fade(self) -> None:
        """Let older occurrences count half once there are many."""
        if self.soon + self.not_soon > _REMEMBERED:
            self.soon, self.not_soon = self.soon / 2, self.not_soon / 2
        if self.late + self.never > _REMEMBERED:
            self.late, self.never = self.late / 2, self.never / 2
            self.waits = [count / 2 for count in self.waits]


class Worth(NamedTuple):
    """What a token costs from this occurrence on, written or not, in units of plain input."""

    none: float
    five: float
    hour: float
    kept_alive: float
    """As `five`, with pings while it waits."""
    pings: float
    """What the pings cost of that, as they also read all that stands before."""


class Habit:
    """One kind of prefix on one route."""

    def __init__(self, priors: tuple[tuple[float, float], ...]) -> None:
        self.chances = [Chances(prior) for prior in priors]
        self._worth: tuple[Prices, int, list[Worth]] | None = None
        self.seen = 0

    def followed(self, generation: int, gap_us: int, *, known: bool) -> None:
        """An occurrence of that generation was followed after that long; `known`: that it was not soon is counted."""
        chances = self.chances[generation]
        self.seen += 1
        if gap_us <= FIVE_MINUTES_US:
            chances.soon += 1
        elif gap_us <= HOUR_US:
            chances.not_soon += not known
            chances.late += 1
            chances.waits[min(gap_us // FIVE_MINUTES_US, _PINGS)] += 1
        chances.fade()

    def waits(self, generation: int) -> None:
        """An occurrence begins to wait for its next."""
        self.chances[generation].open += 1
        self.seen += 1

    def settled(self, generation: int, *, late: bool) -> None:
        """It waits no longer, or not for a `late` one: it was followed, or is not watched any more."""
        chances = self.chances[generation]
        chances.open, chances.open_late = chances.open - (not late), chances.open_late - late

    def not_soon(self, generation: int) -> None:
        """Nothing followed within five minutes; it waits for a late one."""
        self.settled(generation, late=False)
        self.chances[generation].not_soon += 1
        self.chances[generation].open_late += 1
        self.seen += 1

    def never(self, generation: int) -> None:
        """Nothing followed within an hour."""
        self.settled(generation, late=True)
        self.chances[generation].never += 1
        self.seen += 1

    def _estimates(self) -> list[tuple[float, float]]:
        counts = [(one.soon, one.not_soon, one.late, one.never) for one in self.chances]
        total = [sum(column) for column in zip(*counts, strict=True)]
        return [one.of(_lent(total, own)) for one, own in zip(self.chances, counts, strict=True)]

    def worth(self, prices: Prices) -> list[Worth]:
        """By generation. Kept while little has been learned since."""
        known = self._worth
        if known is None or known[0] != prices or self.seen - known[1] > max(0, known[1] // 20):
            known = self._worth = (prices, self.seen, _worth(self._estimates(), self.chances[-1], prices))
        return known[2]


def _lent(total: list[float], own: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """What the other generations have seen, weighing as much as a few occurrences."""
    soon, not_soon, late, never = (all_of - mine for all_of, mine in zip(total, own, strict=True))
    early = min(1.0, _LENT / (soon + not_soon)) if soon + not_soon else 0.0
    later = min(1.0, _LENT / (late + never)) if late + never else 0.0
    return soon * early, not_soon * early, late * later, never * later


def _worth(chances: list[tuple[float, float]], often: Chances, prices: Prices) -> list[Worth]:
    write_5m, write_1h, read = prices
    soon, late = chances[-1]
    either = min(soon + late, 0.995)
    waits = _pings(often) * read
    # For good, each way: nothing kept; kept five minutes and written again when late; kept an hour; kept by pings.
    after_five = (soon * read + late * write_5m) / (1 - either)
    after_hour = either * read / (1 - either)
    after_pings = (1 - soon) * waits / (1 - either)
    kept = after_hour + after_pings
    again = min(1 / (1 - either), write_5m + after_five, write_1h + after_hour)
    after_five = (soon * read + late * again) / (1 - soon)
    worth = [Worth(1 + either * again, write_5m + after_five, write_1h + after_hour, write_5m + kept, after_pings)]
    for soon, late in reversed(chances[:-1]):
        then, either = worth[0], soon + late
        again = min(then.none, then.five, then.hour)
        pings = (1 - soon) * waits + either * then.pings
        worth.insert(
            0,
            Worth(
                1 + either * again,
                write_5m + soon * (read + then.five - write_5m) + late * again,
                write_1h + either * (read + then.hour - write_1h),
                write_5m + either * (read + then.kept_alive - then.pings - write_5m) + pings,
                pings,
            ),
        )
    return worth


def _pings(often: Chances) -> float:
    """How many pings a wait of more than five minutes takes; one that is never followed takes all of them."""
    total = often.late + often.never + sum(_LATE_PRIOR)
    waited = sum(count * place for place, count in enumerate(often.waits))
    return (waited + _LATE_PRIOR[0] * 3 + (often.never + _LATE_PRIOR[1]) * _PINGS) / total
