"""Workspaces, keys and health over plain HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.api import health
from freehold.store.engine import Store
from tests.api.house import House, open_house
from tests.api.parts import app_of, http


@pytest.fixture
async def house(store: Store, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(store, tmp_path) as house:
        yield house


async def test_a_new_workspace_gets_a_key_that_sees_only_it(house: House) -> None:
    async with house.http("admin") as admin:
        made = (await admin.post("/freehold/v1/workspaces", json={"name": "shop"})).json()
        assert made["type"] == "workspace" and made["id"].startswith("wrkspc_")
        key = (await admin.post("/freehold/v1/keys", json={"name": "k", "workspace_id": made["id"]})).json()
        assert (key["type"], key["role"], key["workspace_id"]) == ("api_key", "member", made["id"])
        assert (await admin.get(f"/freehold/v1/workspaces/{made['id']}")).json() == made
    async with http(house.app, key["secret"]) as client:
        reply = await client.get("/v1/agents")
        assert reply.headers["anthropic-workspace-id"] == made["id"]
        assert (await client.get("/freehold/v1/keys")).status_code == 403


async def test_the_secret_of_a_key_is_shown_once(house: House) -> None:
    async with house.http("admin") as admin:
        made = (await admin.post("/freehold/v1/keys", json={"name": "k"})).json()
        secret = made.pop("secret")
        assert (await admin.get(f"/freehold/v1/keys/{made['id']}")).json() == made
        listed = await admin.get("/freehold/v1/keys")
    assert made in listed.json()["data"]
    assert secret not in listed.text and made["hint"] == f"…{secret[-4:]}"


async def test_a_revoked_key_stops_at_once(house: House) -> None:
    async with house.http("admin") as admin:
        made = (await admin.post("/freehold/v1/keys", json={"name": "k"})).json()
        async with http(house.app, made["secret"]) as client:
            assert (await client.get("/v1/agents")).status_code == 200
            revoked = (await admin.post(f"/freehold/v1/keys/{made['id']}/revoke")).json()
            assert revoked["revoked_at"] is not None
            assert (await client.get("/v1/agents")).status_code == 401


async def test_lists_page_newest_first(house: House) -> None:
    async with house.http("admin") as admin:
        for n in range(4):
            await house.clock.advance(1)
            await admin.post("/freehold/v1/workspaces", json={"name": f"w{n}"})
        names: list[str] = []
        page = ""
        while True:
            body = (await admin.get(f"/freehold/v1/workspaces?limit=2{page}")).json()
            names += [row["name"] for row in body["data"]]
            if body["next_page"] is None:
                break
            page = f"&page={body['next_page']}"
    assert names[:4] == ["w3", "w2", "w1", "w0"] and set(names[4:]) == {"one", "other"}


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("workspaces", {}, 400, "name"),
        ("workspaces", {"name": 1}, 400, "name: must be text"),
        ("workspaces", {"name": "x", "color": "red"}, 400, "color"),
        ("workspaces", {"name": "one"}, 409, "one"),
        ("keys", {"name": "k", "role": "king"}, 400, "role"),
        ("keys", {"name": "k", "workspace_id": "wrkspc_gone"}, 404, "wrkspc_gone"),
        ("keys/apikey_gone/revoke", {}, 404, "apikey_gone"),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_what_is_wrong_is_refused_by_name(
    house: House, path: str, body: dict[str, object], status: int, words: str
) -> None:
    async with house.http("admin") as admin:
        reply = await admin.post(f"/freehold/v1/{path}", json=body)
    assert reply.status_code == status
    assert words in reply.json()["error"]["message"]


async def test_readiness_says_why_not_and_liveness_needs_nothing() -> None:
    why: list[str | None] = [None, "the database is away"]

    async def ready() -> str | None:
        return why.pop(0)

    async with http(app_of(health.routes(ready)), None) as client:
        assert (await client.get("/healthz")).json()["status"] == "ok"
        assert (await client.get("/readyz")).status_code == 200
        reply = await client.get("/readyz")
    assert reply.status_code == 503 and reply.json()["reason"] == "the database is away"
