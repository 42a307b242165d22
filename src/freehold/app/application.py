"""The application: its parts, running or not. It decides nothing that a part could decide for itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from starlette.types import ASGIApp

from freehold import is_compiled
from freehold.access.first_start import FirstStart
from freehold.app.parts import Parts
from freehold.app.reloading import Reloaded
from freehold.clock import Clock
from freehold.config import Configuration
from freehold.toolboxes.base import Shared

log = logging.getLogger(__name__)

_SWEEP_S = 600.0


class Application:
    """The parts, running or not. `asgi` serves; `start` before and `stop` after it."""

    def __init__(
        self, parts: Parts, asgi: ASGIApp, found: FirstStart, reload: Callable[[Configuration], Reloaded]
    ) -> None:
        self.asgi = asgi
        self.reload = reload
        """Takes over what of a new configuration can change while this runs. Raises `Misconfigured`."""
        self.store = parts.ground.store
        self.handler = parts.handler
        self.upstream = parts.upstreams[0]
        self.choosing = parts.choosing
        self.boxes = parts.sessions.boxes.backend
        self.first_start = found
        self._parts = parts
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Look at what boxes this machine can make, then begin the work that nobody asks for."""
        parts = self._parts
        await parts.sessions.boxes.look()
        parts.sessions.driver.start()
        parts.batches.start()
        parts.webhooks.start()
        await parts.choosing.start()
        self._tasks = [
            asyncio.create_task(parts.sessions.boxes.fleet.run(), name="idle boxes"),
            asyncio.create_task(parts.sessions.stranded.run(), name="sessions whose files are elsewhere"),
            asyncio.create_task(parts.alerts.run(), name="alerts"),
            *([asyncio.create_task(exports.run(), name="metrics")] if (exports := parts.lasting.exports) else []),
            asyncio.create_task(
                _sweep(
                    [
                        parts.library.tidy,
                        parts.knowledge.collections.tidy,
                        parts.sessions.boxes.tidy,
                        parts.lasting.recorder.tidy,
                        parts.choosing.save,
                        parts.audit.tidy,
                        parts.summing.tidy,
                        parts.alerts.tidy,
                        parts.webhooks.tidy,
                    ],
                    parts.ground.clock,
                ),
                name="sweep",
            ),
        ]
        for task in self._tasks:
            task.add_done_callback(told_when_ended)

    def drain(self) -> None:
        """The server was asked to stop: end the streams that would never end, so that it can."""
        self._parts.sessions.feed.close()
        self._parts.mcp.drain()

    async def stop(self) -> None:
        """Let every part go, the store last, each even if one before it fails. All acknowledged is on disk then."""
        self.drain()
        parts = self._parts
        async with contextlib.AsyncExitStack() as last_first:
            last_first.push_async_callback(parts.ground.store.close)
            last_first.push_async_callback(parts.lasting.close)
            last_first.push_async_callback(parts.keys.close)
            last_first.push_async_callback(parts.choosing.close)
            last_first.push_async_callback(parts.ledger.close)
            for upstream in parts.upstreams:
                last_first.push_async_callback(upstream.close)
            for toolbox in parts.toolboxes.values():
                last_first.push_async_callback(toolbox.close)
            last_first.push_async_callback(parts.knowledge.close)
            last_first.push_async_callback(parts.mcp.close)
            last_first.push_async_callback(parts.sessions.close)
            last_first.push_async_callback(parts.batches.close)
            last_first.push_async_callback(parts.webhooks.close)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def describe(self) -> Sequence[str]:
        """What the ready line tells, a few words each."""
        lines = [f"answers come from {self._parts.answered_by}", self._parts.sessions.boxes.described]
        if loaded := sorted(name for name, one in self._parts.toolboxes.items() if not isinstance(one, Shared)):
            lines.append(f"toolboxes: {', '.join(loaded)}")
        if is_compiled():
            lines.append("hot path compiled")
        return lines


def told_when_ended(task: asyncio.Task[None]) -> None:
    """Work that nobody asks for has ended by itself, which nobody would notice."""
    if not task.cancelled() and (error := task.exception()):
        log.error("the work on %s has ended, until a restart", task.get_name(), exc_info=error)


async def _sweep(tidies: Sequence[Callable[[], Awaitable[None]]], clock: Clock) -> None:
    """Let every part forget what is over, every ten minutes. One that fails is tried again then."""
    while True:
        for tidy in tidies:
            try:
                await tidy()
            except Exception:  # the outer edge of a job
                log.exception("a sweep failed; it is tried again")
        await clock.sleep(_SWEEP_S)
