"""`/v1/sessions`: create, retrieve, update, list, archive, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.agents import caps
from freehold.agents.incoming import MOST_INITIAL_EVENTS, checked_initial
from freehold.agents.repositories import NewRepository
from freehold.agents.sessions import (
    MOST_INSTRUCTIONS_CHARS,
    NewFile,
    NewMemory,
    NewSession,
    Sessions,
    Update,
    shown_resource,
)
from freehold.agents.usage import shown as shown_usage
from freehold.api.agents import MOST_VERSION
from freehold.api.base import Request, answer, route
from freehold.api.definitions import Definitions
from freehold.api.metadata import merged_metadata, new_metadata
from freehold.api.queries import Query, Window
from freehold.clock import Clock, rfc3339
from freehold.errors import InvalidRequest, NotBuilt
from freehold.store.agents import AgentRow
from freehold.store.sessions import ResourceRow, SessionFilter, SessionRow
from freehold.wire.pages import two_way_page

STATUSES = ("rescheduling", "running", "idle", "terminated")
MOST_TITLE_CHARS = 1000
_OVERRIDES = ("model", "system", "tools", "mcp_servers", "skills")


def routes(sessions: Sessions, definitions: Definitions, *, clock: Clock) -> list[BaseRoute]:
    """Every route of sessions themselves."""
    own = _Sessions(sessions, definitions, clock)
    return [
        route("POST", "/v1/sessions", own.create),
        route("GET", "/v1/sessions", own.page),
        route("GET", "/v1/sessions/{session_id}", own.retrieve, worker="session"),
        route("POST", "/v1/sessions/{session_id}", own.update),
        route("DELETE", "/v1/sessions/{session_id}", own.delete),
        route("POST", "/v1/sessions/{session_id}/archive", own.archive),
    ]


class _Sessions:
    def __init__(self, sessions: Sessions, definitions: Definitions, clock: Clock) -> None:
        self._sessions = sessions
        self._definitions = definitions
        self._clock = clock

    async def create(self, request: Request) -> Response:
        fields = await request.json("sessions.create")
        _refuse_not_built(fields)
        agent_id, version, overrides = _agent(fields["agent"])

        def snapshot(row: AgentRow) -> dict[str, Any]:
            definition = self._definitions.overridden(row.definition, overrides) if overrides else row.definition
            kept = {key: value for key, value in definition.items() if key != "metadata"}
            return {"type": "agent", "id": row.id, "version": row.version, **kept}

        resources = fields.get("resources") or ()
        places = {f"resources.{index}": given for index, given in enumerate(resources)}
        new = NewSession(
            agent_id,
            version,
            snapshot,
            fields["environment_id"],
            _title(fields.get("title")),
            new_metadata(fields.get("metadata")),
            [_file(given) for given in resources if given["type"] == "file"],
            [_memory(place, given) for place, given in places.items() if given["type"] == "memory_store"],
            [_repository(given) for given in resources if given["type"] == "github_repository"],
            _messages(fields.get("initial_events") or ()),
            None if fields.get("budget") is None else caps.cents(fields["budget"]),
        )
        row, resources = await self._sessions.create(request.caller, new)
        return answer(self._shown(row, resources))

    async def retrieve(self, request: Request) -> Response:
        row = await self._sessions.rows.get(request.workspace_id, request.path["session_id"])
        return answer(await self._one(row))

    async def update(self, request: Request) -> Response:
        fields = await request.json("sessions.update")
        _refuse_not_built(fields)
        change = Update(
            title=(_title(fields["title"]),) if "title" in fields else None,
            metadata=(lambda now: merged_metadata(now, fields["metadata"])) if "metadata" in fields else None,
            agent=(lambda now: self._changed(now, fields["agent"])) if fields.get("agent") is not None else None,
            cap_cents=(None if fields["budget"] is None else caps.cents(fields["budget"]),)
            if "budget" in fields
            else None,
        )
        row = await self._sessions.update(request.workspace_id, request.path["session_id"], change)
        return answer(await self._one(row))

    async def archive(self, request: Request) -> Response:
        await request.json()
        return answer(await self._one(await self._sessions.archive(request.workspace_id, request.path["session_id"])))

    async def delete(self, request: Request) -> Response:
        session_id = request.path["session_id"]
        await self._sessions.delete(request.workspace_id, session_id)
        return answer({"id": session_id, "type": "session_deleted"})

    async def page(self, request: Request) -> Response:
        wanted, descending = _filter(request.query)
        bound = {"wanted": wanted, "descending": descending}
        window = request.query.window("sessions", bound, position=(str, int, str))
        backwards, after = _position(window)
        rows = await self._sessions.rows.page(
            request.workspace_id,
            wanted,
            after=after,
            limit=window.limit,
            descending=descending != backwards,
        )
        more, kept = len(rows) > window.limit, rows[: window.limit]
        if backwards:
            kept.reverse()
        resources = await self._sessions.rows.resources([row.id for row in kept])
        shown = [self._shown(row, resources[row.id]) for row in kept]
        before = _cursor(window, "prev", kept[0]) if kept and (more if backwards else after is not None) else None
        behind = _cursor(window, "next", kept[-1]) if kept and (more or backwards) else None
        return answer(two_way_page(shown, before, behind))

    def _changed(self, agent: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
        return self._definitions.overridden(dict(agent), fields)

    async def _one(self, row: SessionRow) -> dict[str, Any]:
        return self._shown(row, (await self._sessions.rows.resources([row.id]))[row.id])

    def _shown(self, row: SessionRow, resources: Sequence[ResourceRow]) -> dict[str, Any]:
        usage = shown_usage(row.usage)
        ended_us = self._clock.now_us() if row.archived_us is None else row.archived_us
        return {
            "id": row.id,
            "type": "session",
            "agent": row.agent,
            "environment_id": row.environment_id,
            "status": row.status,
            "title": row.title,
            "metadata": row.metadata,
            "resources": [shown_resource(resource) for resource in resources],
            "vault_ids": [],
            "outcome_evaluations": [],
            "budget": caps.shown(row.cap_cents),
            "deployment_id": None,
            "usage": usage,
            "stats": {
                "active_seconds": usage["active_seconds"],
                "duration_seconds": max(0, ended_us - row.created_us) / 1_000_000,
            },
            "created_at": rfc3339(row.created_us),
            "updated_at": rfc3339(row.updated_us),
            "archived_at": None if row.archived_us is None else rfc3339(row.archived_us),
        }


def _refuse_not_built(fields: Mapping[str, Any]) -> None:
    if fields.get("vault_ids"):
        raise NotBuilt("vault_ids: vaults are not built yet. Leave the list out or empty.")


def _agent(given: Any) -> tuple[str, int | None, dict[str, Any]]:
    """The agent's id, the version if one was asked for, and what this session overrides."""
    if isinstance(given, str):
        return given, None, {}
    overrides = {key: given[key] for key in _OVERRIDES if key in given}
    return given["id"], given.get("version"), overrides


def _title(title: str | None) -> str | None:
    if title is not None and len(title) > MOST_TITLE_CHARS:
        raise InvalidRequest(f"title: {len(title)} characters, at most {MOST_TITLE_CHARS} are taken.")
    if title is not None and "\0" in title:
        raise InvalidRequest("title: holds a NUL character.")
    return title


def _memory(place: str, given: Mapping[str, Any]) -> NewMemory:
    instructions = given.get("instructions")
    if instructions is not None and len(instructions) > MOST_INSTRUCTIONS_CHARS:
        raise InvalidRequest(
            f"{place}.instructions: {len(instructions):,} characters, at most {MOST_INSTRUCTIONS_CHARS:,} are taken."
        )
    return NewMemory(given["memory_store_id"], given.get("access") == "read_only", instructions or None)


def _file(given: Mapping[str, Any]) -> NewFile:
    return NewFile(given["file_id"], given.get("mount_path"))


def _repository(given: Mapping[str, Any]) -> NewRepository:
    checkout = given.get("checkout")
    return NewRepository(
        given["url"],
        given.get("mount_path"),
        None if checkout is None else dict(checkout),
        given.get("authorization_token"),
    )


def _messages(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    if len(events) > MOST_INITIAL_EVENTS:
        raise InvalidRequest(f"initial_events: {len(events)} events, at most {MOST_INITIAL_EVENTS} are taken.")
    return [checked_initial(f"initial_events.{index}", event) for index, event in enumerate(events)]


def _filter(query: Query) -> tuple[SessionFilter, bool]:
    """What the list holds, and whether it begins with the newest."""
    if query.text("deployment_id") is not None:
        raise NotBuilt("deployment_id: there are no sessions of that kind yet. Leave the filter out.")
    agent_id = query.text("agent_id")
    version = query.whole("agent_version", least=1, most=MOST_VERSION)
    if version is not None and agent_id is None:
        raise InvalidRequest("agent_version: only goes together with agent_id.")
    statuses = query.texts("statuses", most=len(STATUSES))
    for status in statuses:
        if status not in STATUSES:
            raise InvalidRequest(f"statuses[]: must be of {', '.join(STATUSES)}, not {status[:40]!r}.")
    made = query.times("created_at")
    wanted = SessionFilter(
        agent_id=agent_id,
        agent_version=version,
        memory_store_id=query.text("memory_store_id"),
        statuses=tuple(sorted(set(statuses))),
        include_archived=query.boolean("include_archived"),
        created_gt_us=made.gt,
        created_gte_us=made.gte,
        created_lt_us=made.lt,
        created_lte_us=made.lte,
    )
    return wanted, query.one_of("order", ("asc", "desc"), "desc") == "desc"


def _position(window: Window) -> tuple[bool, tuple[int, str] | None]:
    """Whether the cursor leads back, and from where."""
    if window.after is None:
        return False, None
    direction, created_us, session_id = window.after
    if direction not in ("next", "prev"):
        raise InvalidRequest("page: this is not a cursor of this list. Use one of an answer as it came.")
    return direction == "prev", (created_us, session_id)


def _cursor(window: Window, direction: str, row: SessionRow) -> str:
    return window.cursor((direction, row.created_us, row.id))
