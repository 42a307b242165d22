"""Clients that leave, or never finish their request: noticed while something else is awaited.

Most answers are there within milliseconds and need neither a watcher nor a timer of their own. So all requests of the
hot route share one clock-work: it ticks while there are requests, and only a request that it still finds there gets a
task that waits for the client's leaving.
"""

from __future__ import annotations

import asyncio
import math

from starlette.types import Message, Receive

from freehold.errors import InvalidRequest

GRACE_S = 0.01
"""A request that is over by then was never looked at; a departure is noticed at most twice as late."""


class Departure:
    """One request. `happened` is true when its task was cancelled because the client has gone."""

    __slots__ = ("_late_s", "_receive", "_task", "_watcher", "complete", "happened", "too_slow")

    def __init__(self, receive: Receive, late_s: float) -> None:
        self._receive = receive
        self._late_s = late_s
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        self.complete = False
        """The request was read whole: all that can come is that the client leaves."""
        self.happened = False
        self.too_slow = False

    async def first_message(self) -> Message:
        """The request's first piece.

        Raises:
            InvalidRequest: it has not come in time.
        """
        try:
            message = await self._receive()
        except asyncio.CancelledError:
            if not self.too_slow or self._task is None or self._task.uncancel() > 0:
                raise
            details = {"error_code": "request_body_timeout"}
            raise InvalidRequest("The body did not come in time.", details=details) from None
        self._late_s = math.inf  # whoever reads the rest has a patience of its own
        return message

    def look(self, now_s: float) -> bool:
        """Called by the clock-work; true when it need not come again."""
        if self.complete:
            self._watcher = asyncio.get_running_loop().create_task(self._watch(), name="watch for the client leaving")
            return True
        if now_s < self._late_s:
            return False
        self.too_slow = True
        self._cancel()
        return True

    def end(self) -> None:
        """The answer is out, or nobody cares any more."""
        if self._watcher is not None:
            self._watcher.cancel()

    async def _watch(self) -> None:
        if (await self._receive())["type"] == "http.disconnect":
            self.happened = True
            self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


class Departures:
    """The clock-work. `patience_s` is how long the first piece of a request may take."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._open: dict[Departure, None] = {}
        self._fresh: dict[Departure, None] = {}
        self._ticking = False

    def begin(self, receive: Receive) -> Departure:
        """Watch over the request of the running task from now on; `end` it when it is over."""
        loop = asyncio.get_running_loop()
        departure = Departure(receive, loop.time() + self._patience_s)
        self._fresh[departure] = None
        if not self._ticking:
            self._ticking = True
            loop.call_later(GRACE_S, self._tick, loop)
        return departure

    def end(self, departure: Departure) -> None:
        """That request is over."""
        self._fresh.pop(departure, None)
        self._open.pop(departure, None)
        departure.end()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at those that have been there for one tick at least."""
        now_s = loop.time()
        for departure in [departure for departure in self._open if departure.look(now_s)]:
            del self._open[departure]
        self._open.update(self._fresh)
        self._fresh = {}
        self._ticking = bool(self._open)
        if self._ticking:
            loop.call_later(GRACE_S, self._tick, loop)
