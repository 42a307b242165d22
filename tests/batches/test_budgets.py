"""Budgets and batches: reserved call by call, paused when used up, gone on with when raised; never overspent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from anthropic import AsyncAnthropic, BadRequestError

from freehold.simulator.batches import BatchPace
from freehold.simulator.served import Settings
from freehold.testing import Running, server
from tests.batches.house import Scripted, claude, ended, fine, paused, progress, requests

CALL_COST = 35_000
"""Nanodollars of one answer of the house: 10 tokens in, 5 out, of Haiku 4.5."""


@pytest.fixture
async def running(database_url: str) -> AsyncIterator[Running]:
    async with server(upstream=Scripted(fine), settings={"database": database_url}) as found:
        yield found


async def put(client: AsyncAnthropic, **wanted: Any) -> dict[str, Any]:
    return await client.post("/freehold/v1/budgets", body=wanted, cast_to=dict[str, Any])


async def test_a_batch_that_meets_its_budget_pauses_below_it_and_goes_on_when_it_is_raised(running: Running) -> None:
    client = running.client
    headers = {"x-freehold-max-cost-usd": "0.002"}
    batch = await client.messages.batches.create(requests=requests(200), extra_headers=headers)
    now = await paused(client, batch.id)
    assert "budget" in now["paused"]
    assert 0 < now["succeeded"] == now["cost_nanodollars"] // CALL_COST < 200
    assert now["cost_nanodollars"] <= 2_000_000
    assert now["waiting"] == 200 - now["succeeded"], "nothing is lost, nothing has failed"
    await put(client, scope="batch", scope_id=batch.id, limit=1_000_000_000)
    await client.post(f"/freehold/v1/batches/{batch.id}/resume", cast_to=dict[str, Any])
    assert (await ended(client, batch.id)).request_counts.succeeded == 200
    assert (await progress(client, batch.id))["cost_nanodollars"] == 200 * CALL_COST


async def test_two_batches_share_what_the_workspace_may_spend(running: Running) -> None:
    client = running.client
    budget = await put(client, scope="workspace", limit=3_000_000)
    both = [await client.messages.batches.create(requests=requests(100, first=100 * i)) for i in range(2)]
    spent = [(await paused(client, batch.id))["cost_nanodollars"] for batch in both]
    assert 0 < sum(spent) <= 3_000_000
    shown = await client.get(f"/freehold/v1/budgets/{budget['id']}", cast_to=dict[str, Any])
    assert sum(account["settled"] for account in shown["accounts"]) <= 3_000_000


@pytest.mark.parametrize("text", ["-1", "much", "inf", "1e9"])
@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_cap_that_is_no_amount_is_refused(running: Running, text: str) -> None:
    with pytest.raises(BadRequestError, match="x-freehold-max-cost-usd: must be a number of dollars"):
        await running.client.messages.batches.create(
            requests=requests(1), extra_headers={"x-freehold-max-cost-usd": text}
        )


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_limited_batch_is_not_handed_to_an_upstream_that_cannot_be_held_to_the_limit(
    database_url: str,
) -> None:
    async with claude(Settings(batch_pace=BatchPace(start_s=0.05))) as (url, _):
        settings = {"database": database_url, "upstream": url, "upstream_key": "k", "batch_engine": "upstream"}
        async with server(settings=settings) as running:
            client = running.client
            budget = await put(client, scope="workspace", limit=1_000_000_000)
            with pytest.raises(BadRequestError, match="A hard budget holds for this batch"):
                await client.messages.batches.create(requests=requests(1))
            later = {"x-freehold-offload": "batch", "x-freehold-deadline-s": "7200"}
            whole = await client.messages.create(
                model="claude-haiku-4-5",
                max_tokens=64,
                messages=[{"role": "user", "content": "hello"}],
                extra_headers=later,
            )
            assert whole.usage.service_tier == "standard", "it was asked at once, under the budget"
            await client.post(f"/freehold/v1/budgets/{budget['id']}/archive", body={}, cast_to=dict[str, Any])
            batch = await client.messages.batches.create(requests=requests(1))
            assert (await progress(client, batch.id))["engine"] == "upstream"
