"""`/v1/agents`: create, retrieve, update, list, archive, and their versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.api.definitions import Definition, Definitions
from freehold.clock import Clock, rfc3339
from freehold.errors import Conflict, InvalidRequest, NotFound
from freehold.ids import NewId
from freehold.library.skills import Skills
from freehold.store.agents import AgentFilter, AgentRow, AgentRows

MOST_VERSION = 2**31 - 1


def routes(rows: AgentRows, definitions: Definitions, skills: Skills, *, clock: Clock, ids: NewId) -> list[BaseRoute]:
    """Every route of agents."""
    agents = _Agents(rows, definitions, skills, clock, ids)
    return [
        route("POST", "/v1/agents", agents.create),
        route("GET", "/v1/agents", agents.list),
        route("GET", "/v1/agents/{agent_id}", agents.retrieve),
        route("POST", "/v1/agents/{agent_id}", agents.update),
        route("POST", "/v1/agents/{agent_id}/archive", agents.archive),
        route("GET", "/v1/agents/{agent_id}/versions", agents.versions),
    ]


class _Agents:
    def __init__(self, rows: AgentRows, definitions: Definitions, skills: Skills, clock: Clock, ids: NewId) -> None:
        self._rows = rows
        self._definitions = definitions
        self._clock = clock
        self._ids = ids
        self._skills = skills

    async def create(self, request: Request) -> Response:
        fields = await request.json("agents.create")
        definition = self._definitions.created(fields)
        await self._check_skills(request, definition["skills"])
        row = await self._rows.create(request.workspace_id, self._ids("agent"), definition, self._clock.now_us())
        return answer(shown(row))

    async def retrieve(self, request: Request) -> Response:
        version = request.query.whole("version", least=1, most=MOST_VERSION)
        return answer(shown(await self._rows.get(request.workspace_id, request.path["agent_id"], version)))

    async def update(self, request: Request) -> Response:
        fields = await request.json("agents.update")
        await self._check_skills(request, fields.get("skills") or ())

        def change(row: AgentRow) -> Definition:
            _refuse_archived(row)
            _refuse_other_version(row, fields.get("version"))
            return self._definitions.updated(row.definition, fields)

        agent_id = request.path["agent_id"]
        return answer(shown(await self._rows.update(request.workspace_id, agent_id, self._clock.now_us(), change)))

    async def archive(self, request: Request) -> Response:
        await request.json()
        agent_id = request.path["agent_id"]
        return answer(shown(await self._rows.archive(request.workspace_id, agent_id, self._clock.now_us())))

    async def list(self, request: Request) -> Response:
        query = request.query
        made = query.times("created_at", ("gte", "lte"))
        wanted = AgentFilter(made.gte, made.lte, query.boolean("include_archived"))
        window = query.window("agents", {"wanted": wanted})
        rows = await self._rows.page(request.workspace_id, wanted, after=window.after, limit=window.limit)
        return answer(window.page(rows, shown, lambda row: (row.created_us, row.id)))

    async def versions(self, request: Request) -> Response:
        agent_id = request.path["agent_id"]
        window = request.query.window("agent_versions", {"agent_id": agent_id}, position=(int,))
        rows = await self._rows.versions(request.workspace_id, agent_id, after=window.after, limit=window.limit)
        return answer(window.page(rows, shown, lambda row: (row.version,)))

    async def _check_skills(self, request: Request, given: Iterable[Mapping[str, Any]]) -> None:
        for index, skill in enumerate(given):
            if skill["type"] == "custom":
                try:
                    await self._skills.resolve(request.workspace_id, skill["skill_id"], skill.get("version"))
                except NotFound as error:
                    raise InvalidRequest(f"skills.{index}: {error.message}") from error


def shown(row: AgentRow) -> dict[str, Any]:
    """An agent as the API shows it."""
    return {
        "id": row.id,
        "type": "agent",
        "version": row.version,
        **row.definition,
        "created_at": rfc3339(row.created_us),
        "updated_at": rfc3339(row.updated_us),
        "archived_at": None if row.archived_us is None else rfc3339(row.archived_us),
    }


def _refuse_archived(row: AgentRow) -> None:
    if row.archived_us is not None:
        raise InvalidRequest(f"The agent {row.id} is archived and cannot be changed. Create a new one.")


def _refuse_other_version(row: AgentRow, expected: int | None) -> None:
    if expected is not None and expected != row.version:
        raise Conflict(
            f"version: the agent {row.id} is at version {row.version}, not {expected}. Retrieve it and try again."
        )
