"""`/metrics` for Prometheus. An admin key is needed, as it tells of all workspaces, unless the operator opens it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, route
from freehold.config import setting

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Who may read the metrics."""

    metrics_open: bool = setting(False, "Whoever reaches the port may read `/metrics`; else an admin key is needed.")


def routes(render: Callable[[], bytes], settings: MetricsSettings) -> list[BaseRoute]:
    """The one route; `render` gives the text."""

    async def metrics(request: Request) -> Response:
        return Response(render(), media_type=None, headers={"content-type": _TEXT, "cache-control": "no-store"})

    return [route("GET", "/metrics", metrics, door="open" if settings.metrics_open else "admin")]
