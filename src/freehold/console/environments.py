"""Environments: what is installed in their boxes and what their network may reach."""

from __future__ import annotations

from starlette.responses import Response

from freehold.console.definitions import parsed, told
from freehold.console.rendering import pretty
from freehold.console.visit import Visit
from freehold.within import Refused


async def listed(visit: Visit) -> Response:
    """Newest first, and a form for another one."""
    return await _list(visit)


async def create(visit: Visit) -> Response:
    """Make one from the form."""
    form = await visit.form()
    name, config = str(form.get("name", "")), str(form.get("config", ""))
    try:
        made = await visit.api.post("/v1/environments", {"name": name, "config": parsed(config)})
    except (Refused, ValueError) as error:
        return await _list(visit, config, told(error), 400)
    return visit.go(f"/console/environments/{made['id']}", "The environment is made.")


async def show(visit: Visit) -> Response:
    """One, with its configuration."""
    environment = await visit.api.get(f"/v1/environments/{visit.id('environment_id')}")
    return visit.show("environment.html", environment=environment, config=pretty(environment["config"]), wrong="")


async def change(visit: Visit) -> Response:
    """Change its configuration."""
    environment_id, form = visit.id("environment_id"), await visit.form()
    config = str(form.get("config", ""))
    try:
        await visit.api.post(f"/v1/environments/{environment_id}", {"config": parsed(config)})
    except (Refused, ValueError) as error:
        environment = await visit.api.get(f"/v1/environments/{environment_id}")
        return visit.show("environment.html", 400, environment=environment, config=config, wrong=told(error))
    return visit.go(f"/console/environments/{environment_id}", "The environment is changed.")


async def _list(visit: Visit, config: str = '{"type": "cloud"}', wrong: str = "", status: int = 200) -> Response:
    page = await visit.api.get("/v1/environments", {"limit": 50, "page": visit.asked("page")})
    layers = (await visit.api.get("/freehold/v1/layers"))["data"] if visit.admin else []
    return visit.show(
        "environments.html",
        status,
        environments=page["data"],
        layers=layers,
        next_page=page.get("next_page"),
        config=config,
        wrong=wrong,
    )
