"""Follows one session on its server: which calls wait for us, which are answered or asked about, and when it is over.

The stream is opened before the list is read, and both are taken by id, so that nothing is missed or taken twice however
often the connection breaks. It knows events, not boxes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from anthropic import APIConnectionError, APIStatusError, AsyncAnthropic

from freehold.outbound.failures import WayOutFailed

log = logging.getLogger(__name__)

_PAGE = 1_000
_PAUSE_S = (0.5, 10.0)
_OVER = frozenset({"session.status_terminated", "session.deleted"})
Event = Any
"""One of the SDK's session events."""
Begin = Callable[[Event], Awaitable[None]]


class Following:
    """One session. `begin` gets each call that is to run, once; `over` is set when there will be no more."""

    def __init__(
        self, client: AsyncAnthropic, session_id: str, names: Collection[str], begin: Begin, *, idle_s: float
    ) -> None:
        """`names`: of the tools that are ours. `idle_s`: how long after its end of turn a session is still followed."""
        self._events = client.beta.sessions.events
        self._session_id = session_id
        self._names = names
        self._begin = begin
        self._idle_s = idle_s
        self._calls: dict[str, Event] = {}
        """Those that have not begun: they wait for a person, or for the list to be read to its end."""
        self._seen: set[str] = set()
        self._answered: set[str] = set()
        self._confirmed: dict[str, str] = {}
        self._idle: asyncio.TimerHandle | None = None
        self.over = asyncio.Event()

    async def run(self) -> None:
        """Follow until it is over; cancel it to stop earlier."""
        attempt = 0
        while not self.over.is_set():
            try:
                await self._once()
                attempt = 0
            except (APIConnectionError, APIStatusError, WayOutFailed) as error:  # the last: in the middle of a stream
                if isinstance(error, APIStatusError) and error.status_code in (401, 403, 404):
                    log.warning("%s cannot be followed any more: %s", self._session_id, error)
                    self.over.set()
                    return
                log.info("the stream of %s broke off and is opened again: %s", self._session_id, error)
            attempt += 1
            await asyncio.sleep(random.uniform(*_PAUSE_S) if attempt > 1 else _PAUSE_S[0])

    async def _once(self) -> None:
        async with await self._events.stream(self._session_id) as stream:
            async for event in self._events.list(self._session_id, limit=_PAGE, order="asc"):
                self._take(event)
            await self._begin_ready()
            async for live in stream:
                self._take(live)
                await self._begin_ready()
                if self.over.is_set():
                    return

    def _take(self, event: Event) -> None:
        identity = getattr(event, "id", None)
        if identity is None or identity in self._seen:
            return
        self._seen.add(identity)
        match event.type:
            case "agent.tool_use" if event.name in self._names:
                self._calls[identity] = event
            case "user.tool_result":
                self._answered.add(event.tool_use_id)
            case "user.tool_confirmation":
                self._confirmed[event.tool_use_id] = event.result
            case "session.status_running" | "session.status_rescheduled":
                self._wait(None)
            case "session.status_idle":
                self._wait(None if event.stop_reason.type == "requires_action" else self._idle_s)
            case kind if kind in _OVER:
                self.over.set()

    async def _begin_ready(self) -> None:
        for identity, event in list(self._calls.items()):
            verdict = self._confirmed.get(identity)
            asks = getattr(event, "evaluated_permission", None) == "ask"
            if identity in self._answered or verdict == "deny":
                del self._calls[identity]
            elif not asks or verdict == "allow":
                del self._calls[identity]
                await self._begin(event)

    def _wait(self, seconds: float | None) -> None:
        """Follow for so long from now on; `None`: without end."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self.over.set)
