"""The escrow protocol as values: what an account holds, what a process holds of it, and how amounts move. No I/O.

An *account* is one counter of one budget: `settled` is what was spent, `escrowed` what was handed out, to processes or
to lost calls. A process draws escrow, reserves the upper bound of each call out of it in memory, and settles the real
cost later. The rules, which the property test checks after every step:

1. `settled + escrowed <= ceiling + overrun` at every instant, and `overrun` stays 0 unless a bound was wrong.
2. `escrowed` is exactly what live processes hold and what lost calls keep.
3. A call is refused only if its bound truly does not fit, and admitted at all its accounts or at none.

The ceiling is the limit, except after the limit was lowered below what was out already.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace

AHEAD_CALLS = 512
"""A process draws escrow for so many further calls like the dearest one that waits, so that those need no commit …"""
AHEAD_SHARE = 32
"""… but at most this part of the room: near the limit the slice shrinks to the single reservation."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One account. Amounts are nanodollars or tokens. `hard` is false where nothing is refused, only counted."""

    limit: int
    settled: int = 0
    escrowed: int = 0
    lost: int = 0
    """Of `escrowed`: kept by calls that may have been billed, though nobody knows."""
    overrun: int = 0
    """By how much calls have cost more than their bound, summed: a defect of a bound, counted and never clipped."""
    ceiling: int = 0
    hard: bool = True

    @property
    def room(self) -> int:
        """What can still be drawn."""
        return max(0, self.limit - self.settled - self.escrowed)

    @property
    def holds(self) -> bool:
        """The invariant."""
        return not self.hard or self.settled + self.escrowed <= self.ceiling + self.overrun


def opened(limit: int, *, hard: bool = True) -> Standing:
    """A new account."""
    return Standing(limit, ceiling=limit, hard=hard)


def with_limit(standing: Standing, limit: int) -> Standing:
    """The limit is another from now on. What is out already stays out: the ceiling follows as soon as it can."""
    out = standing.settled + standing.escrowed - standing.overrun
    return replace(standing, limit=limit, ceiling=max(limit, min(standing.ceiling, out)))


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit of one process does to one account. All are amounts of 0 or more."""

    drawn: int = 0
    returned: int = 0
    settled: int = 0
    """What calls have really cost."""
    consumed: int = 0
    """Of that, what was covered by their reservations: it leaves the escrow."""
    lost: int = 0
    """Escrow that goes from the process to a lost call."""

    @property
    def held(self) -> int:
        """By how much the process holds more (or less, below 0) after it."""
        return self.drawn - self.returned - self.consumed - self.lost


def changed(standing: Standing, change: Change) -> Standing:
    """The account after the commit.

    Raises:
        ValueError: it would break the invariant; nothing may be written.
    """
    if change.drawn > standing.room:
        raise ValueError(f"{change.drawn} are drawn where there is room for {standing.room}")
    after = replace(
        standing,
        settled=standing.settled + change.settled,
        escrowed=standing.escrowed + change.drawn - change.returned - change.consumed,
        lost=standing.lost + change.lost,
        overrun=standing.overrun + (change.settled - change.consumed if standing.hard else 0),
    )
    if not after.holds or after.escrowed < after.lost:
        raise ValueError(f"{change} breaks {standing}")
    return after


@dataclass(frozen=True, slots=True)
class Ask:
    """One call that waits for escrow: its bound at each of its accounts."""

    needs: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to draw, and for each ask the account at which it does not fit (`None`: it fits everywhere)."""

    drawn: Mapping[str, int]
    refused_at: Sequence[str | None]


def decide(asks: Sequence[Ask], free: Mapping[str, int], standings: Mapping[str, Standing]) -> Decision:
    """Admit in the order of asking, each at all of its accounts or at none; draw exactly what is missing, and ahead
    where there is plenty. `free` is what the process holds already and no call has reserved.
    """
    left = dict(free)
    room = {key: standing.room for key, standing in standings.items()}
    drawn = dict.fromkeys(standings, 0)
    dearest = dict.fromkeys(standings, 0)
    refused: list[str | None] = []
    for ask in asks:
        at = _misfit(ask, left, room)
        refused.append(at)
        if at is None:
            _take(ask, left, room, drawn)
            for key, need in ask.needs:
                dearest[key] = max(dearest[key], need)
    for key, need in dearest.items():
        drawn[key] += ahead(need, room[key])
    return Decision(drawn, refused)


def ahead(need: int, room: int) -> int:
    """How much to draw beyond what is needed now: nothing where even one more call would take a fair part of the
    room, so that near the limit no process holds what another one's call could have.
    """
    share = room // AHEAD_SHARE
    return min(need * AHEAD_CALLS, share) if share >= need else 0


def is_tight(need: int, room: int) -> bool:
    """Near the limit: whatever is free goes back at once."""
    return room // AHEAD_SHARE < need


def _misfit(ask: Ask, left: Mapping[str, int], room: Mapping[str, int]) -> str | None:
    return next((key for key, need in ask.needs if need > left.get(key, 0) + room[key]), None)


def _take(ask: Ask, left: MutableMapping[str, int], room: dict[str, int], drawn: dict[str, int]) -> None:
    for key, need in ask.needs:
        missing = max(0, need - left.get(key, 0))
        left[key] = left.get(key, 0) + missing - need
        room[key] -= missing
        drawn[key] += missing
