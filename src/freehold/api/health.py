"""`/healthz` (the process lives), `/readyz` (it can take requests), and `/` (somebody is here). No key needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold import __version__, is_compiled
from freehold.api.base import Request, answer, route

Ready = Callable[[], Awaitable[str | None]]
"""Why the server cannot take requests now, or `None` when it can."""


def routes(ready: Ready) -> list[BaseRoute]:
    """All of them; `ready` is asked on every `/readyz`."""

    compiled = is_compiled()

    async def here(request: Request) -> Response:
        return answer({"type": "freehold", "version": __version__, "compiled": compiled})

    async def healthz(request: Request) -> Response:
        return answer({"status": "ok", "version": __version__})

    async def readyz(request: Request) -> Response:
        why = await ready()
        if why is None:
            return answer({"status": "ready", "version": __version__})
        return answer({"status": "not_ready", "reason": why}, status=503)

    return [
        route("GET", "/", here, door="open"),
        route("HEAD", "/", here, door="open"),  # Claude Code asks so before its first call
        route("GET", "/healthz", healthz, door="open"),
        route("GET", "/readyz", readyz, door="open"),
    ]
