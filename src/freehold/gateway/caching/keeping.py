"""What was learned of routes, into rows and back, so that a restart forgets nothing. Prefixes are not kept."""

from __future__ import annotations

from typing import Protocol

import msgspec

from freehold.clock import Clock
from freehold.gateway.caching.habits import Habit
from freehold.gateway.caching.memory import Memory
from freehold.store.cache_misses import HabitRow

_MOST = 5_000
_MOST_CHARS = 400
_Counts = list[tuple[float, float, float, float, list[float]]]


class KeepsHabits(Protocol):
    """See `store.cache_misses.HabitRows`."""

    async def load(self, limit: int) -> list[HabitRow]:
        """The newest."""
        ...

    async def save(self, rows: list[HabitRow]) -> None:
        """Keep these."""
        ...


class Keeping:
    """Loads once, and saves what has changed."""

    def __init__(self, memory: Memory, rows: KeepsHabits, clock: Clock) -> None:
        self._memory = memory
        self._rows = rows
        self._clock = clock
        self._saved: dict[tuple[str, str], int] = {}

    async def load(self) -> None:
        """Take over what earlier processes have learned."""
        for row in await self._rows.load(_MOST):
            habit = self._memory.habit(row.route, row.kind)
            for chances, counts in zip(habit.chances, msgspec.json.decode(row.counts, type=_Counts), strict=False):
                chances.soon, chances.not_soon, chances.late, chances.never, chances.waits = counts
            habit.seen += 1
            self._saved[row.route, row.kind] = habit.seen

    async def save(self) -> None:
        """Write what has changed since."""
        now_us = self._clock.now_us()
        changed = [
            (key, habit)
            for key, habit in self._memory.habits.items()
            if self._saved.get(key) != habit.seen and len(key[0]) <= _MOST_CHARS and "\0" not in key[0]
        ]
        if changed:
            await self._rows.save([HabitRow(*key, _counts(habit), now_us) for key, habit in changed])
            self._saved.update({key: habit.seen for key, habit in changed})


def _counts(habit: Habit) -> str:
    counts = [(one.soon, one.not_soon, one.late, one.never, one.waits) for one in habit.chances]
    return msgspec.json.encode(counts).decode()
