"""The console, made when somebody first looks: a server that is never looked at does not pay for its templates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.clock import Clock
from freehold.console.settings import ConsoleSettings

if TYPE_CHECKING:
    from freehold.console.door import Seals


class Console:
    """ASGI application of everything below `/console`. `api` gives the application whose public API it shows."""

    def __init__(self, api: Callable[[], ASGIApp], seals: Seals, settings: ConsoleSettings, clock: Clock) -> None:
        self._given = api, seals, settings, clock
        self._site: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if self._site is None:
            from freehold.console.site import Site

            self._site = Site(*self._given)
        await self._site(scope, receive, send)
