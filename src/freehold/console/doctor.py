"""How the server is: whether it is ready, what answers, what its boxes can do."""

from __future__ import annotations

from starlette.responses import Response

from freehold.console.visit import Visit
from freehold.within import Refused


async def show(visit: Visit) -> Response:
    """What can be seen through the API; `freehold doctor` on the machine sees more."""
    checks = [await _check(visit, name, path) for name, path in (("lives", "/healthz"), ("takes requests", "/readyz"))]
    models = await visit.api.get("/v1/models", {"limit": 100})
    found = (await visit.api.get("/freehold/v1/doctor"))["data"] if visit.admin else []
    return visit.show("doctor.html", checks=checks, models=models["data"], found=found)


async def _check(visit: Visit, name: str, path: str) -> tuple[str, bool, str]:
    try:
        await visit.api.get(path)
    except Refused as error:
        return name, False, error.message
    return name, True, ""
