"""Message batches through the official SDK in strict mode, on both databases: GA and beta, async and sync."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from anthropic import AnthropicError, BadRequestError, ConflictError, NotFoundError

from freehold.clock import HandClock
from freehold.testing import Running, server
from tests.batches.house import Scripted, ended, fine, kinds, params, progress, requests, results, until
from tests.contract.manifest import proves, shows_difference
from tests.contract.strict import undeclared


@pytest.fixture
async def running(database_url: str) -> AsyncIterator[Running]:
    async with server(strict=True, settings={"database": database_url}) as running:
        yield running


@proves("messages.batches.create", "messages.batches.retrieve", "messages.batches.results")
@shows_difference("batch-service-tier")
async def test_a_batch_of_mixed_requests_ends_with_one_result_each(running: Running) -> None:
    client = running.client
    bad = [
        {"custom_id": "no-model", "params": {"max_tokens": 5, "messages": []}},
        {"custom_id": "streamed", "params": params("x", stream=True)},
        {"custom_id": "fast", "params": params("x", speed="fast")},
        {"custom_id": "empty", "params": params("x") | {"max_tokens": 0}},
        {"custom_id": "unknown", "params": params("x") | {"model": "claude-none"}},
    ]
    batch = await client.messages.batches.create(requests=[*requests(20), *bad])  # type: ignore[list-item]
    assert batch.id.startswith("msgbatch_") and undeclared(batch) == []
    assert batch.processing_status == "in_progress" and batch.results_url is None and batch.ended_at is None
    assert batch.request_counts.processing == 25
    assert batch.expires_at - batch.created_at == timedelta(hours=24)
    batch = await ended(client, batch.id)
    counts = batch.request_counts
    assert (counts.processing, counts.succeeded, counts.errored) == (0, 20, 5)
    assert batch.results_url == f"http://in-process/v1/messages/batches/{batch.id}/results"
    found = await results(client, batch.id)
    assert set(found) == {one["custom_id"] for one in [*requests(20), *bad]}
    told = {name: found[name].error.error for name in ("no-model", "streamed", "fast", "empty", "unknown")}
    assert all(one.type == "invalid_request_error" for name, one in told.items() if name != "unknown")
    assert told["no-model"].message == "model: Field required."
    assert told["streamed"].message.startswith("stream: ")
    assert told["unknown"].type == "not_found_error"
    usage = found["item-0"].message.usage
    assert usage.service_tier == "standard"


async def test_counts_stay_in_processing_until_the_end_and_progress_tells_them(database_url: str) -> None:
    upstream = Scripted(fine)
    async with server(upstream=upstream, strict=True, settings={"database": database_url}) as running:
        upstream.gate.clear()
        client = running.client
        batch = await client.messages.batches.create(requests=requests(30))
        await until(lambda: upstream.open)
        shown = await client.messages.batches.retrieve(batch.id)
        assert (shown.request_counts.processing, shown.request_counts.succeeded) == (30, 0)
        with pytest.raises(AnthropicError, match="results_url"):
            await client.messages.batches.results(batch.id)
        with pytest.raises(ConflictError, match="still processing"):
            await client.messages.batches.delete(batch.id)
        now = await progress(client, batch.id)
        assert now["total"] == 30 and now["running"] >= upstream.open and now["succeeded"] == 0
        upstream.gate.set()
        await ended(client, batch.id)
        now = await progress(client, batch.id)
        assert (now["succeeded"], now["running"], now["waiting"]) == (30, 0, 0)
        assert (now["input_tokens"], now["output_tokens"]) == (300, 150)
        assert now["cost_nanodollars"] == 30 * (10 * 1_000 + 5 * 5_000)


@proves("messages.batches.cancel")
async def test_cancelling_lets_open_calls_end_and_cancels_the_rest(database_url: str) -> None:
    upstream = Scripted(fine)
    async with server(upstream=upstream, strict=True, settings={"database": database_url}) as running:
        upstream.gate.clear()
        client = running.client
        batch = await client.messages.batches.create(requests=requests(400))
        await until(lambda: upstream.open)
        shown = await client.messages.batches.cancel(batch.id)
        assert shown.processing_status == "canceling" and shown.cancel_initiated_at is not None
        again = await client.messages.batches.cancel(batch.id)
        assert again.cancel_initiated_at == shown.cancel_initiated_at
        upstream.gate.set()
        batch = await ended(client, batch.id)
        counts = batch.request_counts
        assert counts.succeeded + counts.canceled == 400 and counts.succeeded and counts.canceled
        by_kind = kinds((await results(client, batch.id)).values())
        assert by_kind == {"succeeded": counts.succeeded, "canceled": counts.canceled}
        assert sum(upstream.asked.values()) == counts.succeeded
        assert (await client.messages.batches.cancel(batch.id)).processing_status == "ended"


async def test_what_is_not_done_within_a_day_expires_and_a_late_answer_changes_nothing(database_url: str) -> None:
    upstream, clock = Scripted(fine), HandClock()
    async with server(upstream=upstream, clock=clock, strict=True, settings={"database": database_url}) as running:
        client = running.client
        upstream.gate.clear()
        batch = await client.messages.batches.create(requests=requests(50))
        await until(lambda: upstream.open)
        await clock.jump(24 * 3600)
        batch = await ended(client, batch.id)
        assert batch.request_counts.expired == 50
        upstream.gate.set()
        await until(lambda: not upstream.open)
        assert kinds((await results(client, batch.id)).values()) == {"expired": 50}
        await clock.jump(28 * 24 * 3600)
        batch = await client.messages.batches.retrieve(batch.id)
        assert batch.archived_at is not None and batch.results_url is None
        with pytest.raises(NotFoundError, match="kept for 29 days"):
            await client.get(f"/v1/messages/batches/{batch.id}/results", cast_to=str)


@proves("messages.batches.list", "messages.batches.delete")
async def test_batches_are_listed_newest_first_by_both_cursors_and_deleted_ones_are_gone(running: Running) -> None:
    client = running.client
    made = [(await client.messages.batches.create(requests=requests(1))).id for _ in range(5)]
    for one in made:
        await ended(client, one)
    assert [one.id async for one in client.messages.batches.list(limit=2)] == made[::-1]
    page = await client.messages.batches.list(limit=2, after_id=made[3])
    assert [one.id for one in page.data] == [made[2], made[1]] and page.has_more
    page = await client.messages.batches.list(limit=2, before_id=made[1])
    assert [one.id for one in page.data] == [made[3], made[2]] and page.has_more
    assert (page.first_id, page.last_id) == (made[3], made[2])
    gone = await client.messages.batches.delete(made[0])
    assert (gone.id, gone.type) == (made[0], "message_batch_deleted")
    with pytest.raises(NotFoundError):
        await client.messages.batches.retrieve(made[0])
    assert [one.id async for one in client.messages.batches.list()] == made[:0:-1]


@proves(
    "beta.messages.batches.create",
    "beta.messages.batches.retrieve",
    "beta.messages.batches.list",
    "beta.messages.batches.cancel",
    "beta.messages.batches.results",
    "beta.messages.batches.delete",
)
async def test_the_beta_client_does_it_all(running: Running) -> None:
    batches = running.client.beta.messages.batches
    made = await batches.create(requests=requests(3), betas=["output-300k-2026-03-24"])
    assert undeclared(await batches.retrieve(made.id)) == []
    await ended(running.client, made.id)
    assert [one.id async for one in batches.list()] == [made.id]
    assert (await batches.cancel(made.id)).processing_status == "ended"
    assert {one.custom_id async for one in await batches.results(made.id)} == {"item-0", "item-1", "item-2"}
    assert (await batches.delete(made.id)).id == made.id


@proves(
    "messages.batches.create",
    "messages.batches.retrieve",
    "messages.batches.list",
    "messages.batches.cancel",
    "messages.batches.results",
    "messages.batches.delete",
    "beta.messages.batches.create",
    "beta.messages.batches.retrieve",
    "beta.messages.batches.list",
    "beta.messages.batches.cancel",
    "beta.messages.batches.results",
    "beta.messages.batches.delete",
    clients=("sync",),
)
async def test_the_sync_clients_do_it_all(running: Running) -> None:
    for batches in (running.sync_client.messages.batches, running.sync_client.beta.messages.batches):
        made = await asyncio.to_thread(_made, batches)
        await ended(running.client, made)
        await asyncio.to_thread(_looked_at_and_deleted, batches, made)


def _made(batches: Any) -> str:
    return str(batches.create(requests=requests(3)).id)


def _looked_at_and_deleted(batches: Any, made: str) -> None:
    assert batches.retrieve(made).request_counts.succeeded == 3
    assert [one.id for one in batches.list()] == [made]
    assert batches.cancel(made).processing_status == "ended"
    assert [one.custom_id for one in batches.results(made)] == ["item-0", "item-1", "item-2"]
    assert batches.delete(made).id == made


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ([], "requests: must hold at least one request"),
        ([{"custom_id": "a", "params": {}}, {"params": {}}], r"requests\.1: .*custom_id"),
        ([{"custom_id": "a", "params": {}}, {"custom_id": "a b", "params": {}}], r"requests\.1\.custom_id: must be"),
        ([{"custom_id": "a", "params": {}}, {"custom_id": "a", "params": {}}], r"requests\.1\.custom_id: 'a' stands"),
        ([{"custom_id": "a" * 65, "params": {}}], r"requests\.0\.custom_id"),
        ([{"custom_id": 7, "params": {}}], r"requests\.0\.custom_id"),
        ([{"custom_id": "a"}], r"requests\.0: .*params"),
        ([{"custom_id": "a", "params": []}], r"requests\.0\.params: must be an object"),
        ([{"custom_id": "a", "params": {}, "extra": 1}], r"requests\.0: .*extra"),
    ],
)
async def test_a_wrong_envelope_is_refused_whole_and_names_the_index(
    running: Running, wrong: object, told: str
) -> None:
    with pytest.raises(BadRequestError, match=told):
        await running.client.messages.batches.create(requests=wrong)  # type: ignore[arg-type]
    assert (await running.client.messages.batches.list()).data == []
