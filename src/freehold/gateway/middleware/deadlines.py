"""Until when an answer is of use: a call with `x-freehold-deadline-s` has begun to be answered by then, or is given up.

Everything that takes time before the first byte counts: waiting for a limit, every attempt, every wait between them. A
stream that has begun is not cut. A call without a deadline passes for one look.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from freehold.calls import Call, Handler, Reply
from freehold.clock import Clock
from freehold.errors import UpstreamTimedOut

_PASSED = "The deadline of this call (x-freehold-deadline-s) has passed before there was an answer."


class Deadlines:
    """Raises `UpstreamTimedOut` when the time is over; attempts that were under way count as possibly billed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, inner: Handler) -> Handler:
        """See `Middleware`."""

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            deadline_ns = call.deadline_ns
            if deadline_ns is None:
                return inner(call)
            return _Timed(inner, call, (deadline_ns - self._clock.monotonic_ns()) / 1e9)

        return handle


class _Timed:
    __slots__ = ("_call", "_context", "_inner", "_left_s")

    def __init__(self, inner: Handler, call: Call, left_s: float) -> None:
        self._inner = inner
        self._call = call
        self._left_s = left_s

    async def __aenter__(self) -> Reply:
        try:
            async with asyncio.timeout(self._left_s) as limit:
                self._context = self._inner(self._call)
                return await self._context.__aenter__()
        except TimeoutError as error:
            if limit.expired():
                raise UpstreamTimedOut(_PASSED) from error
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._context.__aexit__(kind, error, trace)
