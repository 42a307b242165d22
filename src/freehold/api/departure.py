"""The client that leaves, or never finishes its request: noticed while something else is awaited.

One per request of the hot route. Most answers are there within milliseconds and never need a watcher, so its task is
made only for those that take longer.
"""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive

from freehold.errors import InvalidRequest

GRACE_S = 0.01
"""An answer that is complete by then is not watched; a departure is noticed that much later at most."""


class Departure:
    """Cancels the task that made it: when the body has not come within `patience_s`, and, after `watch`, when the
    client has gone (then `happened` is true). `ignore` ends it.
    """

    __slots__ = ("_loop", "_patience_s", "_receive", "_task", "_timer", "_too_slow", "_watcher", "happened")

    def __init__(self, receive: Receive, patience_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self._patience_s = patience_s
        self._task = asyncio.current_task()
        self._too_slow = False
        self._watcher: asyncio.Task[None] | None = None
        self.happened = False
        self._timer = self._loop.call_later(patience_s, self._give_up)

    async def first_message(self) -> Message:
        """The request's first piece.

        Raises:
            InvalidRequest: it has not come in time.
        """
        try:
            message = await self._receive()
        except asyncio.CancelledError:
            if not self._too_slow or self._task is None or self._task.uncancel() > 0:
                raise
            raise InvalidRequest(
                f"The body did not come within {self._patience_s:g} s.", details={"error_code": "request_body_timeout"}
            ) from None
        self._timer.cancel()
        return message

    def watch(self) -> None:
        """From now on the request is complete, and all that can come is that the client leaves."""
        self._timer = self._loop.call_later(GRACE_S, self._begin)

    def ignore(self) -> None:
        """The answer is out, or nobody cares any more."""
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _give_up(self) -> None:
        self._too_slow = True
        self._cancel()

    def _begin(self) -> None:
        self._watcher = self._loop.create_task(self._wait(), name="watch for the client leaving")

    async def _wait(self) -> None:
        if (await self._receive())["type"] == "http.disconnect":
            self.happened = True
            self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
