"""No key sees another workspace: every route of the app is called with a foreign key. A route without a row fails."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
import pytest
from anthropic import AsyncAnthropic, BadRequestError, NotFoundError
from starlette.routing import Route

from freehold.access.keys import Keys
from freehold.access.oauth import Asked, OAuth
from freehold.api.base import Application
from freehold.calls import Caller
from freehold.ids import new_id
from freehold.inprocess import AsgiTransport
from freehold.library.blobs import Blobs
from freehold.library.files import Files, FilesSettings
from freehold.library.sweeper import Sweeper
from freehold.store.blobs import BlobUsers
from freehold.store.files import FileRows
from freehold.testing import Running, server

Kind = Literal["hidden", "streamed", "listed", "made", "admin", "worker", "open", "keyless"]
"""What a foreign key gets: 404; 404 on a stream; a list without anything of the others; something of its own; 403; 403
without the key of a worker; nothing secret; the same as without any key (tests/acceptance/test_oauth.py)."""


@dataclass(frozen=True, slots=True)
class Row:
    """How to call one route, and what a foreign key gets."""

    kind: Kind
    json: Mapping[str, Any] | None = None
    query: str = ""


HIDDEN = Row("hidden")
STREAMED = Row("streamed")
LISTED = Row("listed")
MESSAGE: dict[str, Any] = {"type": "user.message", "content": [{"type": "text", "text": "Say something."}]}
CALL: dict[str, Any] = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "Hello"}]}
BATCH: dict[str, Any] = {"requests": [{"custom_id": "one", "params": {**CALL, "max_tokens": 10}}]}
ROWS: dict[str, Row] = {
    "GET /metrics": Row("admin"),
    "GET /": Row("open"),
    "HEAD /": Row("keyless"),
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
    "GET /v1/environments/{environment_id}/work": HIDDEN,
    "GET /v1/environments/{environment_id}/work/stats": HIDDEN,
    "GET /v1/environments/{environment_id}/work/poll": Row("worker"),
    "GET /v1/environments/{environment_id}/work/{work_id}": HIDDEN,
    "POST /v1/environments/{environment_id}/work/{work_id}": Row("hidden", {"metadata": {"stolen": "yes"}}),
    "POST /v1/environments/{environment_id}/work/{work_id}/ack": Row("worker"),
    "POST /v1/environments/{environment_id}/work/{work_id}/heartbeat": Row("worker"),
    "POST /v1/environments/{environment_id}/work/{work_id}/stop": HIDDEN,
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
    "POST /v1/sessions": Row("made"),
    "GET /v1/sessions": Row("listed", query="include_archived=true"),
    "GET /v1/sessions/{session_id}": HIDDEN,
    "POST /v1/sessions/{session_id}": Row("hidden", {"title": "stolen"}),
    "DELETE /v1/sessions/{session_id}": HIDDEN,
    "POST /v1/sessions/{session_id}/archive": HIDDEN,
    "POST /v1/sessions/{session_id}/events": Row("hidden", {"events": [MESSAGE]}),
    "GET /v1/sessions/{session_id}/events": HIDDEN,
    "GET /v1/sessions/{session_id}/events/stream": STREAMED,
    "GET /v1/sessions/{session_id}/threads": HIDDEN,
    "GET /v1/sessions/{session_id}/threads/{thread_id}": HIDDEN,
    "POST /v1/sessions/{session_id}/threads/{thread_id}/archive": HIDDEN,
    "GET /v1/sessions/{session_id}/threads/{thread_id}/events": HIDDEN,
    "GET /v1/sessions/{session_id}/threads/{thread_id}/stream": STREAMED,
    "POST /v1/sessions/{session_id}/resources": Row("hidden", {"type": "file", "file_id": "file_1"}),
    "GET /v1/sessions/{session_id}/resources": HIDDEN,
    "GET /v1/sessions/{session_id}/resources/{resource_id}": HIDDEN,
    "POST /v1/sessions/{session_id}/resources/{resource_id}": Row("hidden", {"authorization_token": "x"}),
    "DELETE /v1/sessions/{session_id}/resources/{resource_id}": HIDDEN,
    "POST /v1/messages": Row("made", {**CALL, "max_tokens": 10}),
    "POST /v1/messages/count_tokens": Row("made", CALL),
    "POST /v1/messages/batches": Row("made", BATCH),
    "GET /v1/messages/batches": LISTED,
    "GET /v1/messages/batches/{message_batch_id}": HIDDEN,
    "DELETE /v1/messages/batches/{message_batch_id}": HIDDEN,
    "POST /v1/messages/batches/{message_batch_id}/cancel": HIDDEN,
    "GET /v1/messages/batches/{message_batch_id}/results": HIDDEN,
    "GET /freehold/v1/batches/{message_batch_id}/progress": HIDDEN,
    "GET /freehold/v1/batches/{message_batch_id}/forecast": HIDDEN,
    "GET /freehold/v1/batches/{message_batch_id}/spread": HIDDEN,
    "GET /freehold/v1/deferred/{deferred_id}": HIDDEN,
    "POST /freehold/v1/batches/estimate": Row("made", BATCH),
    "POST /freehold/v1/batches/{message_batch_id}/resume": HIDDEN,
    "GET /v1/models": LISTED,
    "GET /v1/models/{model_id}": Row("listed"),
    "POST /freehold/v1/environments/{environment_id}/build": HIDDEN,
    "GET /freehold/v1/layers": Row("admin"),
    "POST /freehold/v1/layers/collect": Row("admin"),
    "GET /freehold/v1/cache/report": LISTED,
    "GET /freehold/v1/routing/decisions": LISTED,
    "GET /freehold/v1/routing/decisions/{call_id}": HIDDEN,
    "GET /freehold/v1/bill": LISTED,
    "GET /freehold/v1/calls": LISTED,
    "GET /freehold/v1/calls/{call_id}": HIDDEN,
    "DELETE /freehold/v1/calls": Row("admin", query="user_id=somebody"),
    "GET /freehold/v1/traffic": Row("listed", query="bucket_width=1d"),
    "GET /freehold/v1/audit": Row("admin"),
    "GET /freehold/v1/doctor": Row("admin"),
    "GET /freehold/v1/me": Row("listed"),
    "GET /freehold/v1/usage": Row("listed", query="by[]=workspace&by[]=key&by[]=session"),
    "POST /freehold/v1/sessions/{session_id}/fork": HIDDEN,
    "GET /freehold/v1/sessions/{session_id}/points": HIDDEN,
    "GET /freehold/v1/sessions/{session_id}/denied": HIDDEN,
    "GET /freehold/v1/sessions/{session_id}/box": HIDDEN,
    "GET /freehold/v1/sessions/{session_id}/diff": HIDDEN,
    "GET /freehold/v1/sessions/{session_id}/archive": HIDDEN,
    "POST /freehold/v1/sessions/{session_id}/archive": HIDDEN,
    "POST /freehold/v1/budgets": Row("admin"),
    "GET /freehold/v1/budgets": LISTED,
    "GET /freehold/v1/budgets/{budget_id}": HIDDEN,
    "POST /freehold/v1/budgets/{budget_id}/archive": Row("admin"),
    "GET /freehold/v1/budgets/{budget_id}/lost_calls": HIDDEN,
    "POST /freehold/v1/budgets/{budget_id}/lost_calls/{request_id}/release": Row("admin"),
    "GET /v1/organizations/usage_report/messages": Row("admin"),
    "GET /v1/organizations/cost_report": Row("admin"),
    "GET /freehold/v1/export": Row("admin"),
    "POST /freehold/v1/import": Row("admin"),
    "GET /.well-known/oauth-protected-resource/mcp/{toolbox}": Row("keyless"),
    "GET /.well-known/oauth-authorization-server": Row("keyless"),
    "POST /freehold/oauth/register": Row("keyless", {"redirect_uris": ["https://example.com/back"]}),
    "GET /freehold/oauth/authorize": Row("keyless"),
    "POST /freehold/oauth/authorize": Row("keyless"),
    "POST /freehold/oauth/token": Row("keyless"),
    "POST /freehold/oauth/revoke": Row("keyless"),
    "GET /freehold/v1/mcp_grants": LISTED,
    "DELETE /freehold/v1/mcp_grants/{grant_id}": HIDDEN,
    "POST /freehold/v1/mcp_credentials": Row("made", {"url": "https://example.com/mine", "headers": {"a": "b"}}),
    "GET /freehold/v1/mcp_credentials": LISTED,
    "DELETE /freehold/v1/mcp_credentials/{credential_id}": HIDDEN,
    "GET /freehold/v1/alerts": LISTED,
    "POST /freehold/v1/webhooks": Row("made", {"url": "https://example.com/mine"}),
    "GET /freehold/v1/webhooks": LISTED,
    "DELETE /freehold/v1/webhooks/{webhook_id}": HIDDEN,
    "POST /freehold/v1/webhooks/{webhook_id}/test": HIDDEN,
    "GET /freehold/v1/webhooks/{webhook_id}/deliveries": HIDDEN,
    "POST /freehold/v1/workspaces": Row("admin"),
    "POST /freehold/v1/knowledge/collections": Row("made", {"name": "mine"}),
    "GET /freehold/v1/knowledge/collections": LISTED,
    "GET /freehold/v1/knowledge/collections/{collection}": HIDDEN,
    "POST /freehold/v1/knowledge/collections/{collection}/documents": HIDDEN,
    "GET /freehold/v1/knowledge/collections/{collection}/documents": HIDDEN,
    "POST /freehold/v1/knowledge/collections/{collection}/documents/fetch": Row("hidden", {"file_ids": ["file_1"]}),
    "GET /freehold/v1/knowledge/collections/{collection}/documents/{document_id}": HIDDEN,
    "DELETE /freehold/v1/knowledge/collections/{collection}/documents/{document_id}": HIDDEN,
    "DELETE /freehold/v1/knowledge/collections/{collection}": HIDDEN,
    "POST /freehold/v1/knowledge/search": Row("made", {"query": "secret"}),
    "GET /freehold/v1/workspaces": Row("admin"),
    "GET /freehold/v1/workspaces/{workspace_id}": Row("admin"),
    "POST /freehold/v1/keys": Row("admin"),
    "GET /freehold/v1/keys": Row("admin"),
    "GET /freehold/v1/keys/{key_id}": Row("admin"),
    "POST /freehold/v1/keys/{key_id}/revoke": Row("admin"),
}


SKILL_MD = b"---\nname: own\ndescription: Does things.\n---\n"
UPLOADS: dict[str, Any] = {
    "POST /freehold/v1/knowledge/collections/{collection}/documents": {"file": ("mine.txt", b"mine")},
    "POST /v1/files": {"file": ("mine.txt", b"mine")},
    "POST /v1/skills": {"files[]": ("own/SKILL.md", SKILL_MD)},
    "POST /v1/skills/{skill_id}/versions": {"files[]": ("own/SKILL.md", SKILL_MD)},
}


@dataclass(slots=True)
class Tenant:
    """A server, in it a workspace with one of everything, and the ids of all that."""

    running: Running
    owner: AsyncAnthropic
    member: str
    other: str
    ids: dict[str, str]

    def http(self, key: str) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            transport=AsgiTransport(self.running.application.asgi),
            base_url="http://test",
            headers={"authorization": f"Bearer {key}"},
        )


@pytest.fixture
async def tenant(database_url: str) -> AsyncIterator[Tenant]:
    async with server(settings={"database": database_url}) as running:
        member, other = await running.new_key(), await running.new_key(workspace="other")
        owner = running.new_client(member, strict=True)
        yield Tenant(running, owner, member, other, await _one_of_everything(running, owner))


def names(app: Application) -> set[str]:
    """Every route as `METHOD /path`."""
    routed = {f"{method} {r.path}" for r in app.routes if isinstance(r, Route) for method in r.methods or {"ANY"}}
    return routed | {f"POST {path}" for path in app.bare}


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_every_route_of_the_app_has_a_row(tenant: Tenant) -> None:
    app = tenant.running.application.asgi
    assert isinstance(app, Application)
    assert names(app) == set(ROWS)


async def test_a_foreign_key_gets_nothing_of_another_workspace_by_any_route(tenant: Tenant) -> None:
    before = await _state(tenant)
    async with tenant.http(tenant.other) as stranger:
        for name, row in ROWS.items():
            await _check(stranger, tenant, name, row)
        bill = (await stranger.get(f"/freehold/v1/bill?session_id={tenant.ids['session_id']}")).json()
    assert await _state(tenant) == before, "a foreign key has changed something"
    assert bill["total"]["calls"] == 0, "a foreign key has seen what another's session cost"


async def test_a_viewer_changes_nothing_by_any_route(tenant: Tenant) -> None:
    viewer = await tenant.running.new_key("viewer")
    async with tenant.http(viewer) as looking:
        for name in ROWS:
            method, path = name.split(" ")
            if method != "GET" and ROWS[name].kind != "keyless":
                reply = await looking.request(method, _filled(path, tenant.ids), json=dict(CALL, max_tokens=9))
                assert reply.status_code == 403, (name, reply.text)
                assert reply.json()["error"]["type"] == "permission_error"
        assert (await looking.get("/v1/agents")).status_code == 200


async def test_the_own_key_gets_by_the_same_ids_what_is_hidden_from_others(tenant: Tenant) -> None:
    async with tenant.http(tenant.member) as owner:
        for name, row in ROWS.items():
            method, path = name.split(" ")
            if row.kind == "hidden" and method == "GET":
                reply = await owner.get(_filled(path, tenant.ids))
                assert reply.status_code == 200, (name, reply.text)


async def test_a_foreign_cursor_or_id_in_a_query_shows_nothing(tenant: Tenant) -> None:
    async with tenant.http(tenant.member) as owner:
        await owner.post("/v1/agents", json={"name": "second", "model": "claude-haiku-4-5"})
        page = (await owner.get("/v1/agents?limit=1")).json()["next_page"]
    async with tenant.http(tenant.other) as stranger:
        for query in (
            f"/v1/agents?limit=1&page={page}",
            f"/v1/files?ids[]={tenant.ids['file_id']}",
            f"/v1/files?scope_id={tenant.ids['session_id']}",
            f"/v1/sessions?agent_id={tenant.ids['agent_id']}",
        ):
            assert (await stranger.get(query)).json()["data"] == [], query
        legacy = {"anthropic-beta": "files-api-2025-04-14"}
        reply = await stranger.get(f"/v1/files?after_id={tenant.ids['file_id']}", headers=legacy)
        assert reply.status_code == 404


async def test_an_id_below_a_foreign_parent_is_hidden_even_when_the_parent_is_ones_own(tenant: Tenant) -> None:
    stranger = tenant.running.new_client(tenant.other, strict=True)
    own = await stranger.beta.memory_stores.create(name="own")
    skill = await stranger.skills.create(files=[("own/SKILL.md", SKILL_MD)])
    agent = await stranger.beta.agents.create(name="own", model="claude-haiku-4-5")
    environment = await stranger.beta.environments.create(name="own")
    session = await stranger.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    ids = {**tenant.ids, "memory_store_id": own.id, "skill_id": skill.id, "session_id": session.id}
    async with tenant.http(tenant.other) as client:
        for path in (
            "/v1/memory_stores/{memory_store_id}/memories/{memory_id}",
            "/v1/memory_stores/{memory_store_id}/memory_versions/{memory_version_id}",
            "/v1/skills/{skill_id}/versions/{version}",
            "/v1/skills/{skill_id}/versions/{version}/content",
            "/v1/sessions/{session_id}/threads/{thread_id}",
            "/v1/sessions/{session_id}/threads/{thread_id}/events",
            "/v1/sessions/{session_id}/resources/{resource_id}",
        ):
            assert (await client.get(path.format(**ids))).status_code == 404, path


async def test_nothing_of_ones_own_can_be_made_of_something_foreign(tenant: Tenant) -> None:
    stranger = tenant.running.new_client(tenant.other, strict=True)
    agent = await stranger.beta.agents.create(name="own", model="claude-haiku-4-5")
    environment = await stranger.beta.environments.create(name="own")
    file: Any = {"type": "file", "file_id": tenant.ids["file_id"]}
    for foreign in (
        {"agent": tenant.ids["agent_id"], "environment_id": environment.id},
        {"agent": agent.id, "environment_id": tenant.ids["environment_id"]},
        {"agent": agent.id, "environment_id": environment.id, "resources": [file]},
    ):
        with pytest.raises((NotFoundError, BadRequestError)):
            await stranger.beta.sessions.create(**foreign)
    session = await stranger.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    with pytest.raises((NotFoundError, BadRequestError)):
        await stranger.beta.sessions.resources.add(session.id, **file)


async def _check(stranger: httpx2.AsyncClient, tenant: Tenant, name: str, row: Row) -> None:
    method, path = name.split(" ")
    files = UPLOADS.get(name)
    json = await _session_of(stranger) if name == "POST /v1/sessions" else row.json
    reply = await stranger.request(
        method, f"{_filled(path, tenant.ids)}?{row.query}", json=json if files is None else None, files=files
    )
    if row.kind == "keyless":
        assert not [own for own in tenant.ids.values() if own in reply.text], name
        return
    expected = {"hidden": 404, "streamed": 404, "admin": 403, "worker": 403}.get(row.kind, 200)
    assert reply.status_code == expected, (name, reply.text)
    if expected == 404:
        assert reply.json()["error"]["type"] == "not_found_error"
    elif row.kind != "open":
        assert not [own for own in tenant.ids.values() if own in reply.text], name


def _filled(path: str, ids: Mapping[str, str]) -> str:
    return path.format(**ids, model_id="claude-haiku-4-5")


async def _session_of(stranger: httpx2.AsyncClient) -> dict[str, str]:
    agent = await stranger.post("/v1/agents", json={"name": "own", "model": "claude-haiku-4-5"})
    environment = await stranger.post("/v1/environments", json={"name": "own"})
    return {"agent": agent.json()["id"], "environment_id": environment.json()["id"]}


async def _one_of_everything(running: Running, client: AsyncAnthropic) -> dict[str, str]:
    agent = await client.beta.agents.create(name="secret agent", model="claude-haiku-4-5")
    environment = await client.beta.environments.create(name="secret environment")
    upload = await client.files.upload(file=("secret.txt", b"secret"))
    session = await client.beta.sessions.create(
        agent=agent.id, environment_id=environment.id, resources=[{"type": "file", "file_id": upload.id}]
    )
    await _talk(client, session.id)
    elsewhere, work_id = await _work(client, agent.id)
    skill = await client.skills.create(files=[("own/SKILL.md", SKILL_MD)])
    store = await client.beta.memory_stores.create(name="secret store")
    memory = await client.beta.memory_stores.memories.create(store.id, path="/secret", content="secret")
    async with httpx2.AsyncClient(
        transport=AsgiTransport(running.application.asgi),
        base_url="http://test",
        headers={"authorization": f"Bearer {running.key}"},
    ) as admin:
        key = (await admin.get("/freehold/v1/keys")).json()["data"][-1]
        limit = {"scope": "session", "scope_id": session.id, "limit": 1_000_000_000_000}
        budget = (await admin.post("/freehold/v1/budgets", json=limit)).json()
    hello: Any = [{"role": "user", "content": "Hello"}]
    routed = await client.messages.with_raw_response.create(model="auto", max_tokens=9, messages=hello)
    hook = await client.post(
        "/freehold/v1/webhooks",
        body={"url": "https://example.com/secret", "events": ["agent.archived"]},
        cast_to=dict[str, Any],
    )
    shown = {"url": "https://example.com/secret", "headers": {"authorization": "secret"}}
    credential = await client.post("/freehold/v1/mcp_credentials", body=shown, cast_to=dict[str, Any])
    documents = "/freehold/v1/knowledge/collections"
    collection = await client.post(documents, body={"name": "secret"}, cast_to=dict[str, Any])
    async with httpx2.AsyncClient(
        transport=AsgiTransport(running.application.asgi),
        base_url="http://test",
        headers={"authorization": f"Bearer {client.api_key}"},
    ) as member:
        file = {"file": ("secret.txt", b"a secret")}
        document = (await member.post(f"{documents}/{collection['id']}/documents", files=file)).json()
    grant = await _grant(running, key["workspace_id"])
    [resource] = [one async for one in client.beta.sessions.resources.list(session.id) if one.type == "file"]
    [thread] = [thread.id async for thread in client.beta.sessions.threads.list(session.id)]
    return {
        "agent_id": agent.id,
        "environment_id": elsewhere,
        "work_id": work_id,
        "file_id": await _output(running, key["workspace_id"], session.id),
        "session_id": session.id,
        "message_batch_id": await _batch(client),
        "deferred_id": await _deferred(client),
        "thread_id": thread,
        "call_id": str(routed.headers["x-freehold-route"]).rsplit("call=", 1)[1],
        "resource_id": resource.id,
        "skill_id": skill.id,
        "version": skill.latest_version_id,
        "memory_store_id": store.id,
        "memory_id": memory.id,
        "memory_version_id": memory.memory_version_id,
        "webhook_id": hook["id"],
        "credential_id": credential["id"],
        "grant_id": grant,
        "toolbox": "secret-toolbox",
        "collection": collection["id"],
        "document_id": document["id"],
        "workspace_id": key["workspace_id"],
        "key_id": key["id"],
        "budget_id": budget["id"],
        "request_id": "req_secret",
    }


async def _work(client: AsyncAnthropic, agent_id: str) -> tuple[str, str]:
    """A self-hosted environment, and an item in its queue."""
    environment = await client.beta.environments.create(name="secret place", config={"type": "self_hosted"})
    session = await client.beta.sessions.create(agent=agent_id, environment_id=environment.id)
    await _talk(client, session.id)
    [item] = [item async for item in client.beta.environments.work.list(environment.id)]
    return environment.id, item.id


async def _talk(client: AsyncAnthropic, session_id: str) -> None:
    async with asyncio.timeout(120):
        async with await client.beta.sessions.events.stream(session_id) as stream:
            await client.beta.sessions.events.send(session_id, events=[MESSAGE])  # type: ignore[list-item]
            async for event in stream:
                if event.type == "session.status_idle":
                    return


async def _grant(running: Running, workspace_id: str) -> str:
    """A grant by a key of that workspace to an MCP client."""
    store = running.application.store
    keys = await Keys.open(store, clock=running.clock)
    oauth = OAuth(store, keys, clock=running.clock, ids=new_id)
    uri, verifier = "https://example.com/back", "v" * 43
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = Asked(await oauth.register("secret", [uri]), uri, challenge, "freehold")
    key = (await keys.list(limit=1, after=None, workspace_id=workspace_id))[0]
    code = await oauth.grant(asked, Caller(workspace_id, key.id, "member"))
    await oauth.redeem(code, verifier, asked.client.id, uri)
    await keys.close()
    return (await oauth.grants(workspace_id))[0].id


async def _deferred(client: AsyncAnthropic) -> str:
    headers = {"x-freehold-offload": "batch", "x-freehold-deadline-s": "7200", "prefer": "respond-async"}
    body = {**CALL, "max_tokens": 10}
    made: dict[str, Any] = await client.post(
        "/v1/messages", body=body, cast_to=dict[str, Any], options={"headers": headers}
    )
    async with asyncio.timeout(120):  # what it is told of must not change while others look
        while True:
            seen = await client.get(f"/freehold/v1/deferred/{made['id']}", cast_to=dict[str, Any])
            if seen["state"] == "done":
                return str(made["id"])
            await asyncio.sleep(0.02)  # polling from outside


async def _batch(client: AsyncAnthropic) -> str:
    batch = await client.messages.batches.create(**BATCH)
    async with asyncio.timeout(60):
        while batch.processing_status != "ended":
            batch = await client.messages.batches.retrieve(batch.id)
    return batch.id


async def _output(running: Running, workspace_id: str, session_id: str) -> str:
    """A file of the session's that may be downloaded."""
    store, blobs = running.application.store, Blobs(running.data / "blobs")
    sweeper = Sweeper(BlobUsers(store), blobs, clock=running.clock)
    files = Files(FileRows(store), blobs, sweeper, clock=running.clock, ids=new_id, settings=FilesSettings())
    return (await files.register_output(workspace_id, session_id, io.BytesIO(b"secret"), "secret.txt")).id


async def _state(tenant: Tenant) -> list[bytes]:
    """All that the owner sees, to be compared; but time goes on."""
    async with tenant.http(tenant.member) as owner:
        seen = [
            (await owner.get(_filled(name.split(" ")[1], tenant.ids))).content
            for name, row in ROWS.items()
            if name.startswith("GET ") and row.kind in ("hidden", "listed")
        ]
    return [re.sub(rb'"duration_seconds":[0-9.]+', b"", content) for content in seen]
