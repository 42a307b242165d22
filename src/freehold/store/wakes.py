"""Who waits for what: versions of keys in this process, signalled after a commit and by the watcher of the database.

A wake is a hint, never the record: whoever is woken reads the tables again. It does not know databases.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

REMEMBERED = 4096
"""Keys whose last signal is remembered. An older key shares one version; its reader may wake once for nothing."""


class Wakes:
    """Signals by key. Read `version(key)` first, then the tables, then wait with `changed(key, that version, …)`:
    a signal between the two is not missed.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._count = 0
        self._floor = 0
        self._last: OrderedDict[str, int] = OrderedDict()
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._eager = 0
        self._watched = asyncio.Event()

    def version(self, key: str) -> int:
        """A number that differs after each signal of the key. Comparing for equality is all it is good for."""
        return self._last.get(key, self._floor)

    async def changed(self, key: str, since: int, timeout_s: float, *, lazy: bool = False) -> int:
        """Return the key's version as soon as it is not `since`, or what it is after `timeout_s`.

        A `lazy` wait hears this process at once, but does not keep the watcher for other processes busy: for loops
        that look at the tables every second anyway.
        """
        if (now := self.version(key)) != since:
            return now
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, set()).add(future)
        self._count_eager(0 if lazy else 1)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            pass
        finally:
            self._count_eager(0 if lazy else -1)
            self._forget(key, future)
        return self.version(key)

    def signal(self, keys: Iterable[str]) -> None:
        """Wake whoever waits for one of the keys."""
        for key in keys:
            self._count += 1
            self._last[key] = self._count
            self._last.move_to_end(key)
            self._release(key)
        while len(self._last) > self._remembered:
            _, self._floor = self._last.popitem(last=False)

    def signal_all(self) -> None:
        """Wake everybody: something changed, and nobody knows what."""
        self._count += 1
        self._floor = self._count
        self._last.clear()
        for key in list(self._waiting):
            self._release(key)

    @property
    def watched(self) -> asyncio.Event:
        """Set while somebody waits who wants to hear of other processes at once."""
        return self._watched

    @property
    def waiting(self) -> int:
        """How many waits are open; for tests and metrics."""
        return sum(len(futures) for futures in self._waiting.values())

    def _count_eager(self, change: int) -> None:
        self._eager += change
        if self._eager:
            self._watched.set()
        else:
            self._watched.clear()

    def _release(self, key: str) -> None:
        for future in self._waiting.pop(key, ()):
            if not future.done():
                future.set_result(None)

    def _forget(self, key: str, future: asyncio.Future[None]) -> None:
        futures = self._waiting.get(key)
        if futures is not None:
            futures.discard(future)
            if not futures:
                del self._waiting[key]
