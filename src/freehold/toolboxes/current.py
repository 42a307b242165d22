"""Which call a tool is answering: what a tool function may ask for beside its arguments."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

current: ContextVar[CurrentCall] = ContextVar("freehold_toolbox_call")
"""Set by the toolbox around each call, in the tool's own context."""
Report = Callable[[float, float | None, str | None], Awaitable[None]]
"""Takes how much is done, how much there is in all, and words."""


@dataclass(frozen=True, slots=True)
class Asker:
    """On whose behalf a tool is called. `report`: takes progress, where somebody watches."""

    workspace_id: str = ""
    key_id: str = ""
    role: str = ""
    user_id: str = ""
    """Whom the client says that it calls for, by `x-freehold-user-id`; not checked."""
    report: Report | None = None


NOBODY = Asker()


@dataclass(frozen=True, slots=True)
class CurrentCall:
    """The call that is running. `key` is the same if the same call is ever made again: hand it to your own systems."""

    tool: str
    key: str
    session_id: str
    """Empty when the tool was not called by a session."""
    asker: Asker = NOBODY
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("freehold.tools"), repr=False)
    """Its lines go to the server's log."""
    loop: asyncio.AbstractEventLoop | None = field(default=None, repr=False)

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Tell how far the call is. MCP clients that asked for it are shown it; else it is dropped. Never waits."""
        if self.asker.report is None or self.loop is None:
            return
        coroutine = self.asker.report(done, total, message)
        try:
            asyncio.run_coroutine_threadsafe(_quietly(coroutine), self.loop)
        except RuntimeError:  # the loop has ended: nobody watches any more
            coroutine.close()  # type: ignore[attr-defined]


async def _quietly(telling: Awaitable[None]) -> None:
    try:
        await telling
    except Exception as error:  # noqa: BLE001 - whoever watched has gone
        logging.getLogger(__name__).debug("progress was not told: %s", error)


def current_call() -> CurrentCall:
    """The call that this code runs for; works in async tools, in sync ones, and in what they call.

    Raises:
        LookupError: no tool is running here.
    """
    try:
        return current.get()
    except LookupError:
        raise LookupError("current_call() only works while a toolbox runs the tool") from None
