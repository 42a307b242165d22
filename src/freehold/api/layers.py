"""`/freehold/v1/environments/{id}/build` and `/freehold/v1/layers`: packages installed ahead of the first session.

A build answers with lines of JSON while it goes on: `{"type": "progress", "manager": "pip", "state": "installing",
"place": 1, "parts": 2, "detail": ["requests"]}`, and at the end one of type `built` or `failed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.api.plain import fields_of
from freehold.clock import rfc3339
from freehold.environments.base import BoxFailed
from freehold.environments.layers import InstallsPackages, Progress
from freehold.errors import FreeholdError, InvalidRequest
from freehold.store.environments import EnvironmentRows


def routes(rows: EnvironmentRows, installer: InstallsPackages, kept_days: int) -> list[BaseRoute]:
    """A member builds the environments of its workspace; layers belong to all, so admins see and remove them."""

    building: set[asyncio.Task[None]] = set()
    """Held here: a build goes on when its client has gone, and the event loop alone does not keep a task."""

    async def build(request: Request) -> Response:
        await request.json()
        row = await rows.get(request.workspace_id, request.path["environment_id"])
        if row.body["config"]["type"] == "self_hosted":
            raise InvalidRequest(f"{row.id} is self-hosted: what it needs is installed where its workers run.")
        return StreamingResponse(
            _lines(installer, row.body["config"], request.workspace_id, building), media_type="application/x-jsonl"
        )

    async def listed(request: Request) -> Response:
        return answer({"data": [_shown(layer) for layer in await installer.layers()]})

    async def collect(request: Request) -> Response:
        fields = fields_of(await request.json(), {"unused_days": int}, required=())
        days = fields.get("unused_days", kept_days)
        if days < 1:
            raise InvalidRequest("unused_days: must be at least 1; boxes that are open may use what is newer.")
        return answer({"type": "layers_collected", "ids": await installer.collect_layers(days)})

    return [
        route("POST", "/freehold/v1/environments/{environment_id}/build", build),
        route("GET", "/freehold/v1/layers", listed, door="admin"),
        route("POST", "/freehold/v1/layers/collect", collect, door="admin"),
    ]


async def _lines(
    installer: InstallsPackages, config: Mapping[str, Any], workspace_id: str, building: set[asyncio.Task[None]]
) -> AsyncIterator[bytes]:
    """What the build tells, as it tells it. A client that goes away does not end it: others may wait for it too."""
    told: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def tell(progress: Progress) -> None:
        told.put_nowait({"type": "progress", **asdict(progress)})

    async def build() -> None:
        try:
            layers = await installer.install(config, tell, workspace_id=workspace_id)
            told.put_nowait({"type": "built", "layers": [layer.path.name for layer in layers]})
        except BoxFailed as error:
            told.put_nowait({"type": "failed", "message": str(error)})
        except FreeholdError as error:
            told.put_nowait({"type": "failed", "message": error.message})
        finally:
            told.put_nowait(None)

    task = asyncio.create_task(build(), name="packages installed ahead")
    building.add(task)
    task.add_done_callback(building.discard)
    while (line := await told.get()) is not None:
        yield msgspec.json.encode(line) + b"\n"
    await task


def _shown(layer: Mapping[str, Any]) -> dict[str, Any]:
    used_at = rfc3339(int(layer["used_s"] * 1e6))
    return {"type": "layer", **{name: value for name, value in layer.items() if name != "used_s"}, "used_at": used_at}
