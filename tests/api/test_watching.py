"""What watches a server: traffic over time, the audit log, and whose key this is."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from freehold.access.audit import AuditLog, AuditSettings
from freehold.api.traffic import percentile
from freehold.calls import Caller
from freehold.clock import HandClock
from freehold.inprocess import AsgiTransport
from freehold.store.engine import Store
from freehold.store.traffic import Group
from freehold.testing import Running, server

CALL: Any = {"model": "claude-haiku-5-5", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}


def http(running: Running, key: str) -> httpx2.AsyncClient:
    transport = AsgiTransport(running.application.asgi)
    return httpx2.AsyncClient(transport=transport, base_url="http://test", headers={"x-api-key": key})


async def test_traffic_agrees_with_usage_to_the_nanodollar(database_url: str) -> None:
    async with server(settings={"database": database_url}) as running, http(running, running.key) as admin:
        for model in ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"):
            await running.client.messages.create(**{**CALL, "model": model})
        assert (await admin.post("/v1/messages", json={**CALL, "model": "none"})).status_code == 404
        usage = (await admin.get("/freehold/v1/usage?by[]=model")).json()
        traffic = (await admin.get("/freehold/v1/traffic?bucket_width=1m")).json()["error"]
        assert "1 to 200 buckets" in traffic["message"]
        traffic = (await admin.get("/freehold/v1/traffic?bucket_width=1h")).json()
        again = (await admin.get("/freehold/v1/traffic?bucket_width=1h")).json()
    for name in ("calls", "failed_calls", "cost_nanodollars", "input_tokens", "output_tokens", "cache_read_tokens"):
        assert traffic["total"][name] == usage["total"][name], name
        assert sum(bucket[name] for bucket in traffic["data"]) == usage["total"][name]
        by_model = {one["model"]: one[name] for one in traffic["models"]}
        assert by_model == {row["model"]: row[name] for row in usage["data"]}, name
    assert traffic["errors"] == [{"error_type": "not_found_error", "calls": 1}]
    assert again == traffic
    assert len(traffic["data"]) in (24, 25)


async def test_a_member_sees_the_traffic_of_its_own_workspace() -> None:
    async with server() as running:
        await running.client.messages.create(**CALL)
        other = await running.new_key(workspace="other")
        async with http(running, other) as member:
            assert (await member.get("/freehold/v1/traffic")).json()["total"]["calls"] == 0
            assert (await member.get("/freehold/v1/traffic?workspaces=all")).status_code == 403
        async with http(running, running.key) as admin:
            assert (await admin.get("/freehold/v1/traffic?workspaces=all")).json()["total"]["calls"] == 1


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("bucket_width=5m", "bucket_width"),
        ("starting_at=yesterday", "RFC 3339"),
        ("starting_at=2026-01-02T00:00:00Z&ending_at=2026-01-01T00:00:00Z", "1 to 200 buckets"),
        ("colour=red", "no such parameter"),
    ],
)
async def test_what_cannot_be_asked_is_a_400(query: str, told: str) -> None:
    async with server() as running, http(running, running.key) as admin:
        reply = await admin.get(f"/freehold/v1/traffic?{query}")
    assert reply.status_code == 400
    assert told in reply.json()["error"]["message"]


def test_percentiles_are_the_ends_of_their_classes() -> None:
    def of(latency_class: int, calls: int) -> Group:
        return Group(0, "m", 200, None, latency_class, calls, 0, 0, 0, 0, 0)

    assert percentile([], 50) is None
    assert percentile([of(0, 1)], 99) == 1
    assert percentile([of(3, 95), of(9, 5)], 95) == 10
    assert percentile([of(3, 94), of(9, 6)], 95) == 1000
    assert percentile([of(16, 1)], 50) == 100_000


async def test_every_change_is_in_the_audit_log_and_talk_is_not(database_url: str) -> None:
    async with server(settings={"database": database_url}) as running:
        agent = await running.client.beta.agents.create(name="a", model="claude-haiku-5-5")
        await running.client.messages.create(**CALL)
        key = await running.new_key("member")
        async with http(running, key) as member:
            assert (await member.post("/freehold/v1/keys", json={"name": "k"})).status_code == 403
            me = (await member.get("/freehold/v1/me")).json()
            assert (await member.get("/freehold/v1/audit")).status_code == 403
        async with http(running, running.key) as admin:
            entries = (await admin.get("/freehold/v1/audit?limit=100")).json()["data"]
            mine = (await admin.get(f"/freehold/v1/audit?key_id={me['id']}")).json()["data"]
    assert me["role"] == "member" and me["name"] == "test"
    seen = {(entry["method"], entry["path"], entry["status"]) for entry in entries}
    assert ("POST", "/v1/agents", 200) in seen
    assert ("POST", "/freehold/v1/keys", 403) in seen
    assert not [path for _, path, _ in seen if path.startswith("/v1/messages")]
    assert [(entry["path"], entry["status"], entry["role"]) for entry in mine] == [("/freehold/v1/keys", 403, "member")]
    assert agent.id.startswith("agent_")


async def test_the_audit_log_forgets_after_its_days_however_many_rows_there_are(store: Store) -> None:
    clock = HandClock()
    log = AuditLog(store, clock, AuditSettings(audit_kept_days=30))
    caller = Caller("wrkspc_1", "apikey_1", "admin")
    for number in range(2500):
        log(caller, "POST", "/v1/agents", 200, f"req_{number}")
    await clock.advance(20 * 86_400)
    log(caller, "POST", "/v1/agents", 200, "req_younger")
    await log.tidy()
    assert len(await log.list(limit=100)) == 101
    await clock.advance(11 * 86_400)
    await log.tidy()
    assert [row.id for row in await log.list(limit=100)] == ["req_younger"]
    kept = AuditLog(store, clock, AuditSettings(audit_kept_days=0))
    await clock.advance(400 * 86_400)
    await kept.tidy()
    assert len(await kept.list(limit=100)) == 1
