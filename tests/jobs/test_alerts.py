"""Alerts: raised once when something goes wrong, resolved once when it is over, and told to a webhook, signed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from freehold.clock import HandClock
from freehold.ids import new_id
from freehold.jobs.alerts import LOOK_S, Alerts, AlertSettings, judged
from freehold.store.alerts import CACHE, ERRORS, LATENCY, Watched, listed
from freehold.store.calls import CallRow, add_call
from freehold.store.engine import Store
from freehold.testing import Running, server
from tests.batches.house import until
from tests.ledger.kit import WORKSPACE, make_workspace
from tests.scripted_upstream import Line, Request, ScriptedUpstream, scripted

SETTINGS = AlertSettings(alert_latency_s=2.0)
CALL: Any = {"model": "claude-haiku-5-5", "max_tokens": 20, "messages": [{"role": "user", "content": "Hello"}]}
FAULT = {"x-freehold-fault": "overloaded"}


def seen(**more: int) -> Watched:
    usual = {"calls": 100, "failed": 5, "answered": 95, "slow": 3, "prompt_tokens": 50_000, "read_tokens": 30_000}
    return Watched("wrkspc_1", **{**usual, **more})


@pytest.mark.parametrize(
    ("now", "usual_hits", "kinds"),
    [
        (seen(), 0.6, set()),
        (seen(failed=21), 0.6, {ERRORS}),
        (seen(slow=5), None, {LATENCY}),
        (seen(read_tokens=14_000), 0.6, {CACHE}),
        (seen(read_tokens=0), 0.05, set()),
        (seen(read_tokens=0), None, set()),
        (seen(read_tokens=0, prompt_tokens=1_000), 0.6, set()),
        (seen(calls=0, failed=0, answered=0, slow=0), 0.6, set()),
    ],
)
def test_what_is_wrong_is_judged_by_shares(now: Watched, usual_hits: float | None, kinds: set[str]) -> None:
    assert set(judged(now, usual_hits, SETTINGS)) == kinds


def test_what_is_switched_off_raises_nothing() -> None:
    off = AlertSettings(alert_errors_percent=0, alert_latency_s=0, alert_cache_drop_percent=0)
    assert judged(seen(failed=90, slow=90, read_tokens=0), 0.9, off) == {}


async def test_a_cache_that_is_missed_more_than_the_day_before_is_an_alert(store: Store) -> None:
    clock = HandClock()
    await make_workspace(store)
    alerts = Alerts(store, SETTINGS, clock=clock, ids=new_id)
    for read in (9_000, 9_000, 100):
        for number in range(25):
            add_call(store, cached(f"req_{clock.now_us()}_{number}", read, clock.now_us()))
        await alerts.look()
        await clock.advance(3 * 3600)
    async with store.read() as conn:
        [row] = await listed(conn, WORKSPACE, only_open=False, now_us=clock.now_us(), after=None, limit=9)
    assert (row.kind, json.loads(row.figures)) == (CACHE, {"hit_percent": 1.0, "usual_hit_percent": 90.0})
    await alerts.look()
    async with store.read() as conn:
        assert not await listed(conn, WORKSPACE, only_open=True, now_us=clock.now_us(), after=None, limit=9)
    await clock.advance(91 * 86_400)
    await alerts.tidy()
    async with store.read() as conn:
        assert not await listed(conn, WORKSPACE, only_open=False, now_us=clock.now_us(), after=None, limit=9)


def cached(call_id: str, read: int, started_us: int) -> CallRow:
    told: dict[str, Any] = {"id": call_id, "workspace_id": WORKSPACE, "route": "messages", "streamed": False}
    told |= {"status": 200, "attempts": 1, "usage_known": "exact", "latency_us": 1, "started_us": started_us}
    told |= {"input_tokens": 10_000 - read, "output_tokens": 1, "cache_read_tokens": read, "cost_nanodollars": 1}
    told |= {"cache_write_5m_tokens": 0, "cache_write_1h_tokens": 0}
    return CallRow._make(told.get(name) for name in CallRow._fields)


class Receiver:
    def __init__(self) -> None:
        self.kinds: list[str] = []

    async def script(self, request: Request, line: Line) -> None:
        self.kinds.append(request.json()["data"]["type"])
        await line.answer(200, b"{}")


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def there(receiver: Receiver) -> AsyncIterator[ScriptedUpstream]:
    async with scripted(receiver.script) as upstream:
        yield upstream


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def running(database_url: str, clock: HandClock) -> AsyncIterator[Running]:
    settings = {
        "database": database_url,
        "webhook_private_hosts": ["127.0.0.1"],
        "alert_least_calls": 4,
        "max_retries": 0,
    }
    async with server(settings=settings, clock=clock) as running:
        yield running


async def shown(running: Running, *, only_open: bool = False) -> list[dict[str, Any]]:
    path = f"/freehold/v1/alerts{'?open=true' if only_open else ''}"
    return list((await running.client.get(path, cast_to=dict[str, Any]))["data"])


async def hooked(running: Running, url: str, *events: str) -> None:
    await running.client.post("/freehold/v1/webhooks", body={"url": url, "events": events}, cast_to=dict[str, Any])


async def test_errors_are_told_once_and_again_when_they_are_over(
    running: Running, clock: HandClock, there: ScriptedUpstream, receiver: Receiver
) -> None:
    await hooked(running, f"{there.url}/hook", "alert.errors", "alert.resolved")
    client = running.new_client(max_retries=0)
    for _ in range(4):
        with pytest.raises(anthropic.APIStatusError):
            await client.messages.create(**CALL, extra_headers=FAULT)
    while not (found := await shown(running, only_open=True)):
        await clock.advance(LOOK_S / 6)
    await until(lambda: receiver.kinds)
    await clock.advance(LOOK_S)
    [alert] = found
    assert (alert["kind"], alert["figures"]["failed_calls"], alert["figures"]["percent"]) == ("alert.errors", 4, 100.0)

    for _ in range(40):
        await client.messages.create(**CALL)
    while await shown(running, only_open=True):
        await clock.advance(LOOK_S / 6)
    await until(lambda: len(receiver.kinds) > 1)
    assert receiver.kinds == ["alert.errors", "alert.resolved"]
    [alert] = await shown(running)
    assert alert["ended_at"] is not None


async def test_a_soft_budget_at_its_limit_is_told_once_in_its_period(
    running: Running, clock: HandClock, there: ScriptedUpstream, receiver: Receiver
) -> None:
    await hooked(running, f"{there.url}/hook", "alert.budget_reached")
    budget: dict[str, Any] = {"scope": "organization", "limit": 1, "enforcement": "soft", "period": "day"}
    made = await running.client.post("/freehold/v1/budgets", body=budget, cast_to=dict[str, Any])
    for _ in range(3):
        await running.client.messages.create(**CALL)
    await until(lambda: receiver.kinds)
    await running.client.messages.create(**CALL)
    [alert] = await shown(running, only_open=True)
    assert alert["figures"]["budget_id"] == made["id"] and alert["figures"]["settled"] >= 1
    await clock.jump(86_400)
    assert await shown(running, only_open=True) == []
    await running.client.messages.create(**CALL)
    await until(lambda: len(receiver.kinds) > 1)
    assert receiver.kinds == ["alert.budget_reached"] * 2
