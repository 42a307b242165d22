"""The work queue of one environment, polled until it is told to stop; each item is served beside the others."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from anthropic import AsyncAnthropic
from anthropic.types.beta.environments import BetaSelfHostedWork

from freehold.ids import NewId
from freehold.worker.calls import used
from freehold.worker.credentials import speaking_as, token_in
from freehold.worker.serving import House, Serving

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Worker:
    """Polls `environment_id`. `heard` is told of every item that begins and ends, for whoever watches."""

    client: AsyncAnthropic
    environment_id: str
    environment_key: str
    house: House
    at_once: int
    ids: NewId
    heard: Callable[[str, str], None] = lambda what, session_id: None
    tidy: Callable[[], Awaitable[None]] | None = None
    _serving: set[asyncio.Task[None]] = field(default_factory=set)
    _sessions: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """Those that are served or wait to be: each by one item at a time."""

    async def run(self) -> None:
        """Until it is cancelled; then what runs is given back, so that another worker takes it at once.

        Raises:
            APIStatusError: the server refuses the key or does not know the environment.
        """
        places = asyncio.Semaphore(self.at_once)
        poller = self.client.beta.environments.work.poller(
            environment_id=self.environment_id,
            environment_key=self.environment_key,
            worker_id=f"{socket.gethostname()[:40]}-{self.ids('wrk')}",
            auto_stop=False,
        )
        try:
            await places.acquire()  # an item is only taken when there is a place for it
            async for item in poller:
                self._begin(item, places)
                await places.acquire()
                if self.tidy is not None:
                    await self.tidy()
        finally:
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def _begin(self, item: BetaSelfHostedWork, places: asyncio.Semaphore) -> None:
        if item.data.type == "session":
            used(self.house.workdirs.of(item.data.id))  # before old files are tidied away
        task = asyncio.create_task(self._serve(item), name=f"work {item.id}")
        self._serving.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._serving.discard(task)
            places.release()

        task.add_done_callback(ended)

    async def _serve(self, item: BetaSelfHostedWork) -> None:
        """One item; its failure is its own."""
        try:
            if item.data.type == "session":
                await self._serve_session(item)
            else:  # the queue also has health checks, which only want to be stopped
                work = self.client.beta.environments.work
                await work.stop(item.id, environment_id=item.environment_id, force=True)
        except Exception:  # the outer edge of an item; the lease was given back
            log.exception("%s (%s) could not be served", item.id, item.data.id)

    async def _serve_session(self, item: BetaSelfHostedWork) -> None:
        session_id = item.data.id
        token = token_in(item.secret)
        client = speaking_as(self.client, token or self.environment_key)
        # An item may be handed out again because our heartbeats came too late.
        async with self._sessions.setdefault(session_id, asyncio.Lock()):
            self.heard("begins", session_id)
            try:
                await Serving(self.house, client, item, has_token=token is not None).run()
            finally:
                self.heard("ended", session_id)
