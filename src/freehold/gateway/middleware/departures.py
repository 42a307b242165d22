"""What becomes of a call whose client leaves: its upstream is let go at once, or read to the end for an exact account.

The first is what happens without this; the second costs what the answer costs. A drained call runs in a task of its
own from its beginning, so that it can outlive its client.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType

from freehold.calls import Call, Handler, Reply
from freehold.config import setting
from freehold.errors import FreeholdError, Misconfigured
from freehold.wire.reads import Read

log = logging.getLogger(__name__)

_READS_AHEAD = 16
"""Reads that may wait for the client; then the upstream is held back."""
_LEFT = (asyncio.CancelledError, GeneratorExit)


@dataclass(frozen=True, slots=True)
class DepartureSettings:
    """What becomes of calls whose client leaves."""

    departures: str = setting(
        "cut",
        "`cut`: the upstream is let go at once, the account has a bound; `drain`: its answer is read to the end, the "
        "account is exact",
    )
    departure_drain_s: float = setting(
        120.0, "how long an answer is drained at most; then it is cut", unit="s", least=0.1
    )


class Departures:
    """The outermost middleware where calls are drained. `open` is how many have lost their client and go on."""

    def __init__(self, settings: DepartureSettings) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self.renew(settings)

    def renew(self, settings: DepartureSettings) -> None:
        """From now on these. Raises `Misconfigured`."""
        if settings.departures not in ("cut", "drain"):
            raise Misconfigured(f"departures: must be cut or drain, not {settings.departures!r}")
        self.active = settings.departures == "drain"
        self._most_s = settings.departure_drain_s

    @property
    def open(self) -> int:
        """How many answers are drained now."""
        return len(self._tasks)

    def __call__(self, inner: Handler) -> Handler:
        """See `Middleware`."""

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            if call.session_id is not None or call.batch_id is not None:
                return inner(call)  # nobody leaves there; what is given up is meant to be
            return _Outliving(self, inner, call)

        return handle

    def drain(self, task: asyncio.Task[None]) -> None:
        """Let it go on without its client, for a bounded time."""
        self._tasks.add(task)
        timer = asyncio.get_running_loop().call_later(self._most_s, task.cancel)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: timer.cancel())

    async def close(self) -> None:
        """Cut what is still drained."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Outliving:
    __slots__ = ("_call", "_departures", "_inner", "_left", "_queue", "_reply", "_task")

    def __init__(self, departures: Departures, inner: Handler, call: Call) -> None:
        self._departures = departures
        self._inner = inner
        self._call = call
        self._left = False

    async def __aenter__(self) -> Reply:
        loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Read | BaseException | None] = asyncio.Queue(_READS_AHEAD)
        self._reply: asyncio.Future[Reply] = loop.create_future()
        self._task = loop.create_task(self._run(), name="a call that may outlive its client")
        try:
            reply = await asyncio.shield(self._reply)
        except _LEFT:
            self._leave()
            raise
        if reply.reads is None:
            return reply
        return Reply(reply.status, reply.headers, reads=self._reads())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        if not isinstance(error, _LEFT):
            await asyncio.wait({self._task})

    def _leave(self) -> None:
        """Nobody takes what comes now."""
        self._left = True
        while not self._queue.empty():
            self._queue.get_nowait()
        if not self._task.done():
            self._departures.drain(self._task)

    async def _run(self) -> None:
        try:
            async with self._inner(self._call) as reply:
                if not self._reply.done():
                    self._reply.set_result(reply)
                if reply.reads is not None:
                    async for read in reply.reads:
                        await self._hand_on(read)
            await self._hand_on(None)
        except BaseException as error:
            if not self._reply.done():
                self._reply.set_exception(error)
                self._reply.exception()  # it is told there; nobody may be left to ask
            elif isinstance(error, FreeholdError):
                await self._hand_on(error)
            elif not isinstance(error, asyncio.CancelledError):
                log.exception("%s failed after its client had left", self._call.request_id)
                await self._hand_on(error)

    async def _hand_on(self, read: Read | BaseException | None) -> None:
        if not self._left:
            await self._queue.put(read)

    async def _reads(self) -> AsyncIterator[Read]:
        while (read := await self._queue.get()) is not None:
            if isinstance(read, BaseException):
                raise read
            yield read
