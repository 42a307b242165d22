"""Calls that wait for a limit, for a bounded time: those of one key in their order, those of several keys in turn.

So a burst of one key does not stand before the single call of another. One task per queue, and only while somebody
waits. It does not know what is waited for.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from freehold.clock import Clock
from freehold.gateway.buckets import Lack


@dataclass(slots=True, eq=False)
class _Waiter:
    take: Callable[[], Lack | None]
    until_ns: int
    turn: asyncio.Future[Lack | None]


class FairQueue:
    """The waiting calls of one workspace. `len` is how many they are."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._waiting.values())

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def wait(self, key_id: str, take: Callable[[], Lack | None], most_s: float) -> Lack | None:
        """Wait until `take` has worked, at most so long; what was lacking then, or `None`: it is taken.

        Who is cancelled just after its turn has come has taken all the same, and has to give back.
        """
        until_ns = self._clock.monotonic_ns() + round(most_s * 1e9)
        waiter = _Waiter(take, until_ns, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(key_id, deque()).append(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="queue of a limit")
        self.look()
        try:
            return await waiter.turn
        finally:
            self.look()

    def look(self) -> None:
        """Something was given back, or somebody has left."""
        self._changed.set()

    async def _run(self) -> None:
        while self._waiting:
            self._changed.clear()
            pause_s = self._let_go()
            if self._waiting:
                await self._pause(pause_s)

    def _let_go(self) -> float:
        """Let all go whose turn it is; how long until the next one may."""
        soonest_s = 60.0
        moved = True
        while moved:
            moved = False
            for key_id in list(self._waiting):
                left_s = self._first_of(key_id)
                if left_s is None:
                    moved = True
                else:
                    soonest_s = min(soonest_s, left_s)
        return soonest_s

    def _first_of(self, key_id: str) -> float | None:
        """Look at the first call of that key: it goes (`None`), or has to wait so long."""
        queue = self._waiting[key_id]
        waiter = queue[0]
        lack = None
        if not waiter.turn.done():
            lack = waiter.take()
            left_s = (waiter.until_ns - self._clock.monotonic_ns()) / 1e9
            if lack is not None and left_s > 0:
                return left_s if lack.wait_s is None else min(left_s, lack.wait_s)
            waiter.turn.set_result(lack)
        queue.popleft()
        if queue:
            self._waiting.move_to_end(key_id)
        else:
            del self._waiting[key_id]
        return None

    async def _pause(self, seconds: float) -> None:
        sleeping = asyncio.ensure_future(self._clock.sleep(max(seconds, 0.001)))
        changing = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((sleeping, changing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            changing.cancel()
            await asyncio.gather(sleeping, changing, return_exceptions=True)
