"""Spans on their way to a collector: kept until there are enough or a second is over, then sent as OTLP over HTTP.

How they get there is handed in. A collector that is away costs nothing but spans: as many wait as may, the oldest go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

from freehold.telemetry.protobuf import Value, request
from freehold.telemetry.spans import Span

log = logging.getLogger(__name__)

Post = Callable[[str, bytes], Awaitable[None]]
"""Sends a body to a path of the collector; raises `OSError` where that did not work, `Refused` where it never will."""
_WAITING = 8192
_AT_ONCE = 512
_EVERY_S = 1.0
_LONGEST_PAUSE_S = 30.0


class Refused(Exception):
    """The collector does not want what it was sent."""


class Collector:
    """Takes spans; `run` sends them, `close` what is left."""

    def __init__(self, post: Post, resource: Mapping[str, Value], version: str) -> None:
        self._post = post
        self._resource = resource
        self._scope = ("freehold", version)
        self._waiting: deque[Span] = deque(maxlen=_WAITING)
        self._enough = asyncio.Event()
        self._failing = False

    def __call__(self, span: Span) -> None:
        """See `TakesSpans`; never waits."""
        self._waiting.append(span)
        if len(self._waiting) >= _AT_ONCE:
            self._enough.set()

    async def run(self) -> None:
        """For ever."""
        pause_s = _EVERY_S
        while True:
            if self._failing:  # however many wait: they are not taken sooner for that
                await asyncio.sleep(pause_s)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_EVERY_S):
                        await self._enough.wait()
            self._enough.clear()
            pause_s = _EVERY_S if await self._send() else min(_LONGEST_PAUSE_S, pause_s * 2)

    async def close(self) -> None:
        """Send what waits, if it can be sent now."""
        while self._waiting and await self._send():
            pass

    async def _send(self) -> bool:
        some = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
        if not some:
            return True
        try:
            await self._post("/v1/traces", request(some, self._resource, self._scope))
        except Refused as error:
            log.warning("the collector refused %d spans: %s", len(some), error)
        except OSError as error:
            if not self._failing:
                log.warning("the collector takes no spans now, newest ones wait: %s", error)
            self._failing = True
            self._waiting.extendleft(reversed(some[: _WAITING - len(self._waiting)]))
            return False
        self._failing = False
        if len(self._waiting) >= _AT_ONCE:
            self._enough.set()
        return True
