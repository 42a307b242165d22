"""The upstream engine against the simulator's own batch API over HTTP: submits, polls, collects, outlives servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anthropic import BadRequestError
from sqlalchemy import insert

from freehold.batches.collected import Collected
from freehold.batches.upstream import UpstreamEngine
from freehold.calls import Headers
from freehold.clock import HandClock
from freehold.ids import new_id
from freehold.ledger.rates import Rates
from freehold.simulator.batches import BatchPace
from freehold.simulator.served import Served, Settings
from freehold.store.batches import BatchRow, BatchRows, NewItem
from freehold.store.engine import Store
from freehold.store.tables import workspaces
from freehold.testing import Running, server
from tests.batches.house import claude, ended, kinds, params, progress, requests, results

QUICK = Settings(batch_pace=BatchPace(start_s=0.05, requests_per_s=10_000))
LATE = Settings(batch_pace=BatchPace(start_s=24 * 3600 - 5, requests_per_s=1))
SLOW = Settings(batch_pace=BatchPace(start_s=3_600, requests_per_s=1))


@asynccontextmanager
async def through(database_url: str, settings: Settings, **more: Any) -> AsyncIterator[tuple[Running, Served]]:
    async with (
        claude(settings) as (url, served),
        server(strict=True, settings={**at(database_url, url), **more}) as running,
    ):
        yield running, served


def at(database_url: str, url: str) -> dict[str, Any]:
    return {
        "database": database_url,
        "upstream": url,
        "batch_engine": "upstream",
        "batch_poll_s": 0.1,
        "upstream_key": "sk-ant-test",
    }


async def test_a_batch_of_mixed_requests_comes_back_whole_at_half_the_price(database_url: str) -> None:
    bad = [
        {"custom_id": "no-model", "params": {"max_tokens": 5, "messages": []}},
        {"custom_id": "streamed", "params": params("x", stream=True)},
        {"custom_id": "unknown", "params": params("x") | {"model": "claude-none"}},
    ]
    async with through(database_url, QUICK) as (running, served):
        client = running.client
        batch = await client.messages.batches.create(requests=[*requests(40), *bad])  # type: ignore[list-item]
        batch = await ended(client, batch.id)
        assert (batch.request_counts.succeeded, batch.request_counts.errored) == (40, 3)
        assert batch.results_url is not None and batch.results_url.startswith("http://in-process/")
        found = await results(client, batch.id)
        assert set(found) == {one["custom_id"] for one in [*requests(40), *bad]}
        assert found["item-7"].message.usage.service_tier == "batch"
        assert found["no-model"].error.error.message == "model: Field required."
        now = await progress(client, batch.id)
        assert now["engine"] == "upstream"
        bill = await client.get("/freehold/v1/bill", cast_to=dict[str, Any])
        assert bill["total"]["cost_nanodollars"] == now["cost_nanodollars"] > 0
        assert now["cost_nanodollars"] == served.simulator.claude.account.total.nanodollars


async def test_a_large_batch_goes_in_chunks(database_url: str) -> None:
    async with through(database_url, QUICK, batch_chunk_requests=30) as (running, served):
        batch = await running.client.messages.batches.create(requests=requests(100))
        await ended(running.client, batch.id)
        assert kinds((await results(running.client, batch.id)).values()) == {"succeeded": 100}
    assert served.simulator.claude.account.total.requests == 100


async def test_cancelling_reaches_the_upstream(database_url: str) -> None:
    async with through(database_url, SLOW) as (running, _):
        client = running.client
        batch = await client.messages.batches.create(requests=requests(10))
        await _with_upstream(client, batch.id)
        assert (await client.messages.batches.cancel(batch.id)).processing_status == "canceling"
        batch = await ended(client, batch.id)
        assert batch.request_counts.canceled == 10
        assert kinds((await results(client, batch.id)).values()) == {"canceled": 10}


async def test_what_the_upstream_lets_expire_has_expired(database_url: str) -> None:
    async with through(database_url, LATE) as (running, served):
        client = running.client
        batch = await client.messages.batches.create(requests=requests(10))
        await _with_upstream(client, batch.id)
        await served.clock.advance(24 * 3600 + 1)
        batch = await ended(client, batch.id)
        counts = batch.request_counts
        assert counts.succeeded + counts.expired == 10 and counts.expired
        assert kinds((await results(client, batch.id)).values())["expired"] == counts.expired


async def test_a_batch_outlives_the_server_that_submitted_it(database_url: str, tmp_path: Any) -> None:
    async with claude(SLOW) as (url, served):
        async with server(data=tmp_path / "data", settings=at(database_url, url)) as first:
            key = await first.new_key()
            client = first.new_client(key)
            batch = await client.messages.batches.create(requests=requests(10))
            await _with_upstream(client, batch.id)
        await served.clock.advance(2 * 3600)
        async with server(data=tmp_path / "data", settings=at(database_url, url)) as second:
            client = second.new_client(key)
            await ended(client, batch.id)
            assert kinds((await results(client, batch.id)).values()) == {"succeeded": 10}


async def test_an_upstream_that_refuses_our_key_pauses_the_batch_until_it_is_resumed(database_url: str) -> None:
    async with claude(QUICK) as (url, _), server(settings=at(database_url, url) | {"upstream_key": None}) as running:
        client = running.client
        batch = await client.messages.batches.create(requests=requests(3))
        async with asyncio.timeout(60):
            while True:
                now = await progress(client, batch.id)
                if now["paused"]:
                    break
                await asyncio.sleep(0.05)  # polling from outside
        assert "x-api-key" in now["paused"] and now["waiting"] == 3
        resumed = await client.post(f"/freehold/v1/batches/{batch.id}/resume", cast_to=dict[str, Any])
        assert resumed["paused"] is None
        await client.messages.batches.cancel(batch.id)
        assert (await ended(client, batch.id)).request_counts.canceled == 3


async def _with_upstream(client: Any, batch_id: str) -> None:
    """Wait until every item is with the upstream (bounded)."""
    async with asyncio.timeout(60):
        while True:
            now = await progress(client, batch_id)
            if now["running"] == now["total"]:
                return
            await asyncio.sleep(0.05)  # polling from outside


async def test_a_model_that_is_chosen_here_keeps_its_batch_here_or_is_refused_where_that_cannot_be(
    database_url: str,
) -> None:
    left = [{"custom_id": "one", "params": params("Translate this.") | {"model": "auto"}}, *requests(2)]
    async with through(database_url, QUICK) as (running, served):
        with pytest.raises(BadRequestError, match="'auto' is chosen here, call by call"):
            await running.client.messages.batches.create(requests=left)
        said = [{"custom_id": "one", "params": params('Say "auto".')}]
        await ended(running.client, (await running.client.messages.batches.create(requests=said)).id)  # type: ignore[arg-type]
        assert served.simulator.claude.account.total.requests == 1
    async with through(database_url, QUICK, batch_engine="auto") as (running, _):
        batch = await ended(running.client, (await running.client.messages.batches.create(requests=left)).id)
        assert (await progress(running.client, batch.id))["engine"] == "local"
        found = await results(running.client, batch.id)
        assert found["one"].message.model == "claude-haiku-5-5"


class Odd:
    """An upstream whose answer to one batch is not what an upstream answers."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def batch_params(self, params: bytes) -> bytes:
        return params

    async def create_batch(self, body: bytes, headers: Headers) -> dict[str, Any]:
        self.asked.append(body)
        return {} if b"odd" in body else {"id": "msgbatch_there"}

    async def batch(self, batch_id: str) -> dict[str, Any]:
        raise AssertionError(batch_id)

    async def recent_batches(self) -> list[dict[str, Any]]:
        raise AssertionError

    async def cancel_batch(self, batch_id: str) -> dict[str, Any]:
        raise AssertionError(batch_id)

    def batch_results(self, batch_id: str) -> AsyncIterator[bytes]:
        raise AssertionError(batch_id)


async def test_a_batch_that_cannot_be_worked_on_does_not_keep_the_others_waiting(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    clock, rows, upstream = HandClock(), BatchRows(store), Odd()

    async def workspace(connection: Any) -> None:
        await connection.execute(insert(workspaces).values(id="wrkspc_1", name="one", created_us=0))

    await store.write(workspace)
    for number, text in enumerate(("odd", "plain")):
        made_us = clock.now_us() + number
        row = BatchRow(f"msgbatch_{number}", "wrkspc_1", "k", "upstream", "{}", 1, 9, made_us, made_us + 10**12)
        await rows.begin(row)
        await rows.add(row.id, [NewItem(0, "item", json.dumps(params(text)).encode(), 0)])
        await rows.start(row.id)
    collected = Collected(store, Rates.load(), "odd", clock=clock, ids=new_id)
    engine = UpstreamEngine(store, "srv_1", upstream, collected, clock=clock, ids=new_id, poll_s=1)
    await engine.look()
    assert [b"odd" in body for body in upstream.asked] == [True, False]
    assert [record.message for record in caplog.records] == ["a step of msgbatch_0 failed; the others go on"]
