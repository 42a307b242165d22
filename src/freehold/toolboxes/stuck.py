"""Counts calls that outlived their timeout and still run, and refuses more when there are too many."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TypeVar

T = TypeVar("T")


class Stuck:
    """The calls of one toolbox that were given up but did not end."""

    def __init__(self, most: int) -> None:
        """`most`: with so many of them, `refusal` says no."""
        self._most = most
        self._running: Counter[str] = Counter()

    def add(self, name: str, work: asyncio.Future[T]) -> None:
        """Count this call until it really ends."""
        self._running[name] += 1
        work.add_done_callback(lambda _: self._ended(name))

    def refusal(self) -> str | None:
        """Why no call is taken now; `None` if calls are taken."""
        if self._running.total() < self._most:
            return None
        named = ", ".join(f"{name} ({count})" for name, count in self._running.most_common())
        return (
            f"this toolbox takes no calls now: {self._running.total()} earlier calls outlived their timeout and still "
            f"run: {named}. They must end, or the operator must restart the server."
        )

    def _ended(self, name: str) -> None:
        self._running[name] -= 1
        self._running += Counter()  # drops the names that are at zero
