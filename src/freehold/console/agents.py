"""Agents: which there are, what one is, its versions; made and changed as the JSON that the API takes."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from freehold.console.definitions import parsed, told
from freehold.console.rendering import pretty
from freehold.console.visit import Visit
from freehold.within import Refused

_GIVEN = ("name", "description", "model", "system", "tools", "mcp_servers", "skills", "metadata")
FIRST = {
    "name": "analyst",
    "model": "claude-sonnet-5-5",
    "system": "Work on the files you are given.",
    "tools": [{"type": "agent_toolset_20260401"}],
}
"""What a new agent begins with."""


async def listed(visit: Visit) -> Response:
    """Newest first."""
    page = await visit.api.get("/v1/agents", {"limit": 50, "page": visit.asked("page")})
    return visit.show("agents.html", agents=page["data"], next_page=page.get("next_page"))


async def new(visit: Visit) -> Response:
    """An empty form."""
    return visit.show("agent_form.html", agent=None, definition=pretty(FIRST), wrong="")


async def create(visit: Visit) -> Response:
    """Make one from the form."""
    definition = str((await visit.form()).get("definition", ""))
    try:
        made = await visit.api.post("/v1/agents", parsed(definition))
    except (Refused, ValueError) as error:
        return visit.show("agent_form.html", 400, agent=None, definition=definition, wrong=told(error))
    return visit.go(f"/console/agents/{made['id']}", "The agent is made.")


async def show(visit: Visit) -> Response:
    """One, with its definition and its versions."""
    agent = await visit.api.get(f"/v1/agents/{visit.id('agent_id')}")
    return await _one(visit, agent, pretty({name: agent[name] for name in _GIVEN if agent.get(name)}))


async def change(visit: Visit) -> Response:
    """A new version from the form."""
    agent_id, form = visit.id("agent_id"), await visit.form()
    definition = str(form.get("definition", ""))
    try:
        version = str(form.get("version", ""))
        body = {**parsed(definition), "version": int(version) if version.isdecimal() else 0}
        changed = await visit.api.post(f"/v1/agents/{agent_id}", body)
    except (Refused, ValueError) as error:
        agent = await visit.api.get(f"/v1/agents/{agent_id}")
        return await _one(visit, agent, definition, told(error), 400)
    return visit.go(f"/console/agents/{agent_id}", f"Version {changed['version']} is made.")


async def _one(visit: Visit, agent: dict[str, Any], definition: str, wrong: str = "", status: int = 200) -> Response:
    versions = await visit.api.get(f"/v1/agents/{agent['id']}/versions", {"limit": 20})
    environments = await visit.api.get("/v1/environments", {"limit": 100})
    return visit.show(
        "agent.html",
        status,
        agent=agent,
        definition=definition,
        versions=versions["data"],
        environments=environments["data"],
        wrong=wrong,
    )
