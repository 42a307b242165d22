"""No key sees another workspace: every route of the app is called with a foreign key. A route without a row fails."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from starlette.routing import BaseRoute, Route

from freehold.store.engine import Store
from tests.api.house import House, open_house

Kind = Literal["hidden", "listed", "made", "admin", "open"]
"""What a foreign key gets: 404; a list without anything of the others; something of its own; 403; nothing secret."""


@dataclass(frozen=True, slots=True)
class Row:
    """How to call one route, and what a foreign key gets."""

    kind: Kind
    json: Mapping[str, Any] | None = None
    query: str = ""


HIDDEN = Row("hidden")
LISTED = Row("listed")
ROWS: dict[str, Row] = {
    "GET /healthz": Row("open"),
    "GET /readyz": Row("open"),
    "POST /v1/agents": Row("made", {"name": "mine", "model": "claude-haiku-4-5"}),
    "GET /v1/agents": Row("listed", query="include_archived=true"),
    "GET /v1/agents/{agent_id}": HIDDEN,
    "POST /v1/agents/{agent_id}": Row("hidden", {"name": "stolen"}),
    "POST /v1/agents/{agent_id}/archive": HIDDEN,
    "GET /v1/agents/{agent_id}/versions": HIDDEN,
    "POST /v1/environments": Row("made", {"name": "mine"}),
    "GET /v1/environments": Row("listed", query="include_archived=true"),
    "GET /v1/environments/{environment_id}": HIDDEN,
    "POST /v1/environments/{environment_id}": Row("hidden", {"name": "stolen"}),
    "DELETE /v1/environments/{environment_id}": HIDDEN,
    "POST /v1/environments/{environment_id}/archive": HIDDEN,
    "POST /v1/files": Row("made"),
    "GET /v1/files": LISTED,
    "GET /v1/files/{file_id}": HIDDEN,
    "GET /v1/files/{file_id}/content": HIDDEN,
    "DELETE /v1/files/{file_id}": HIDDEN,
    "POST /v1/skills": Row("made"),
    "GET /v1/skills": LISTED,
    "GET /v1/skills/{skill_id}": HIDDEN,
    "DELETE /v1/skills/{skill_id}": HIDDEN,
    "POST /v1/skills/{skill_id}/versions": HIDDEN,
    "GET /v1/skills/{skill_id}/versions": HIDDEN,
    "GET /v1/skills/{skill_id}/versions/{version}": HIDDEN,
    "DELETE /v1/skills/{skill_id}/versions/{version}": HIDDEN,
    "GET /v1/skills/{skill_id}/versions/{version}/content": HIDDEN,
    "POST /v1/memory_stores": Row("made", {"name": "mine"}),
    "GET /v1/memory_stores": Row("listed", query="include_archived=true"),
    "GET /v1/memory_stores/{memory_store_id}": HIDDEN,
    "POST /v1/memory_stores/{memory_store_id}": Row("hidden", {"name": "stolen"}),
    "DELETE /v1/memory_stores/{memory_store_id}": HIDDEN,
    "POST /v1/memory_stores/{memory_store_id}/archive": HIDDEN,
    "POST /v1/memory_stores/{memory_store_id}/memories": Row("hidden", {"path": "/stolen", "content": ""}),
    "GET /v1/memory_stores/{memory_store_id}/memories": HIDDEN,
    "GET /v1/memory_stores/{memory_store_id}/memories/{memory_id}": HIDDEN,
    "POST /v1/memory_stores/{memory_store_id}/memories/{memory_id}": Row("hidden", {"content": "stolen"}),
    "DELETE /v1/memory_stores/{memory_store_id}/memories/{memory_id}": HIDDEN,
    "GET /v1/memory_stores/{memory_store_id}/memory_versions": HIDDEN,
    "GET /v1/memory_stores/{memory_store_id}/memory_versions/{memory_version_id}": HIDDEN,
    "POST /v1/memory_stores/{memory_store_id}/memory_versions/{memory_version_id}/redact": HIDDEN,
    "POST /freehold/v1/workspaces": Row("admin"),
    "GET /freehold/v1/workspaces": Row("admin"),
    "GET /freehold/v1/workspaces/{workspace_id}": Row("admin"),
    "POST /freehold/v1/keys": Row("admin"),
    "GET /freehold/v1/keys": Row("admin"),
    "GET /freehold/v1/keys/{key_id}": Row("admin"),
    "POST /freehold/v1/keys/{key_id}/revoke": Row("admin"),
}


SKILL_MD = b"---\nname: own\ndescription: Does things.\n---\n"
UPLOADS: dict[str, Any] = {
    "POST /v1/files": {"file": ("mine.txt", b"mine")},
    "POST /v1/skills": {"files[]": ("own/SKILL.md", SKILL_MD)},
    "POST /v1/skills/{skill_id}/versions": {"files[]": ("own/SKILL.md", SKILL_MD)},
}


@dataclass(slots=True)
class Tenant:
    """A workspace with one of everything, and the ids of all that."""

    house: House
    ids: dict[str, str]


@pytest.fixture
async def tenant(store: Store, tmp_path: Path) -> AsyncIterator[Tenant]:
    async with open_house(store, tmp_path) as house:
        yield Tenant(house, await _one_of_everything(house))


def names(routes: list[BaseRoute]) -> set[str]:
    """Every route as `METHOD /path`."""
    return {f"{method} {r.path}" for r in routes if isinstance(r, Route) for method in r.methods or {"ANY"}}


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_every_route_of_the_app_has_a_row(tenant: Tenant) -> None:
    assert names(list(tenant.house.app.routes)) == set(ROWS)


async def test_a_foreign_key_gets_nothing_of_another_workspace_by_any_route(tenant: Tenant) -> None:
    before = await _state(tenant)
    async with tenant.house.http("other") as stranger:
        for name, row in ROWS.items():
            await _check(stranger, tenant, name, row)
    assert await _state(tenant) == before, "a foreign key has changed something"


async def test_the_own_key_gets_by_the_same_ids_what_is_hidden_from_others(tenant: Tenant) -> None:
    async with tenant.house.http("member") as owner:
        for name, row in ROWS.items():
            method, path = name.split(" ")
            if row.kind == "hidden" and method == "GET":
                reply = await owner.get(path.format(**tenant.ids))
                assert reply.status_code == 200, (name, reply.text)


async def test_a_foreign_cursor_or_id_in_a_query_shows_nothing(tenant: Tenant) -> None:
    async with tenant.house.http("member") as owner:
        await owner.post("/v1/agents", json={"name": "second", "model": "claude-haiku-4-5"})
        page = (await owner.get("/v1/agents?limit=1")).json()["next_page"]
    async with tenant.house.http("other") as stranger:
        for query in (
            f"/v1/agents?limit=1&page={page}",
            f"/v1/files?ids[]={tenant.ids['file_id']}",
            f"/v1/files?scope_id={tenant.ids['session_id']}",
        ):
            assert (await stranger.get(query)).json()["data"] == [], query
        legacy = {"anthropic-beta": "files-api-2025-04-14"}
        reply = await stranger.get(f"/v1/files?after_id={tenant.ids['file_id']}", headers=legacy)
        assert reply.status_code == 404


async def test_an_id_below_a_foreign_parent_is_hidden_even_when_the_parent_is_ones_own(tenant: Tenant) -> None:
    stranger = tenant.house.client("other")
    own = await stranger.beta.memory_stores.create(name="own")
    skill = await stranger.skills.create(files=[("own/SKILL.md", SKILL_MD)])
    ids = {**tenant.ids, "memory_store_id": own.id, "skill_id": skill.id}
    async with tenant.house.http("other") as client:
        for path in (
            "/v1/memory_stores/{memory_store_id}/memories/{memory_id}",
            "/v1/memory_stores/{memory_store_id}/memory_versions/{memory_version_id}",
            "/v1/skills/{skill_id}/versions/{version}",
            "/v1/skills/{skill_id}/versions/{version}/content",
        ):
            assert (await client.get(path.format(**ids))).status_code == 404, path


async def _check(stranger: httpx2.AsyncClient, tenant: Tenant, name: str, row: Row) -> None:
    method, path = name.split(" ")
    files = UPLOADS.get(name)
    reply = await stranger.request(
        method, f"{path.format(**tenant.ids)}?{row.query}", json=row.json if files is None else None, files=files
    )
    expected = {"hidden": 404, "listed": 200, "made": 200, "admin": 403, "open": 200}[row.kind]
    assert reply.status_code == expected, (name, reply.text)
    if row.kind == "hidden":
        assert reply.json()["error"]["type"] == "not_found_error"
    else:
        assert not [own for own in tenant.ids.values() if own in reply.text], name


async def _one_of_everything(house: House) -> dict[str, str]:
    client = house.client()
    agent = await client.beta.agents.create(name="secret agent", model="claude-haiku-4-5")
    environment = await client.beta.environments.create(name="secret environment")
    output = await house.files.register_output(house.one, "sesn_secret", io.BytesIO(b"secret"), "secret.txt")
    skill = await client.skills.create(files=[("own/SKILL.md", SKILL_MD)])
    store = await client.beta.memory_stores.create(name="secret store")
    memory = await client.beta.memory_stores.memories.create(store.id, path="/secret", content="secret")
    [key, *_] = [key.id for key in await house.keys.list(workspace_id=house.one)]
    return {
        "agent_id": agent.id,
        "environment_id": environment.id,
        "file_id": output.id,
        "session_id": "sesn_secret",
        "skill_id": skill.id,
        "version": skill.latest_version_id,
        "memory_store_id": store.id,
        "memory_id": memory.id,
        "memory_version_id": memory.memory_version_id,
        "workspace_id": house.one,
        "key_id": key,
    }


async def _state(tenant: Tenant) -> list[object]:
    """All that the owner sees, to be compared."""
    async with tenant.house.http("member") as owner:
        return [
            (await owner.get(name.split(" ")[1].format(**tenant.ids))).content
            for name, row in ROWS.items()
            if name.startswith("GET ") and row.kind in ("hidden", "listed")
        ]
