"""Deadline offload: opted in by header, answered through a batch in time or asked after all; polled, held or told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic, AuthenticationError, BadRequestError

from benchmarks.offload import day
from freehold.clock import HandClock
from freehold.launch import ServerProcess
from freehold.simulator.batches import BatchPace
from freehold.simulator.served import Settings
from freehold.testing import Running, server
from tests.batches.house import MODEL, Scripted, claude, fine, message
from tests.databases import slice_on
from tests.scripted_upstream import Line, Request, scripted

QUICK = Settings(batch_pace=BatchPace(start_s=0.05, requests_per_s=10_000))
NEVER = Settings(batch_pace=BatchPace(start_s=24 * 3600 - 5, requests_per_s=1))
LATER = {"x-freehold-offload": "batch", "x-freehold-deadline-s": "7200"}
POLLED = {**LATER, "prefer": "respond-async"}


async def ask(client: AsyncAnthropic, headers: dict[str, str], text: str = "hello", **more: Any) -> dict[str, Any]:
    body = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": text}], **more}
    return await client.post(
        "/v1/messages", body=body, cast_to=dict[str, Any], options={"headers": headers, "timeout": 60}
    )


async def polled(client: AsyncAnthropic, call_id: str) -> dict[str, Any]:
    return await client.get(f"/freehold/v1/deferred/{call_id}", cast_to=dict[str, Any])


async def answered(client: AsyncAnthropic, call_id: str) -> dict[str, Any]:
    async with asyncio.timeout(120):
        while True:
            found = await polled(client, call_id)
            if found["state"] == "done":
                return found
            await asyncio.sleep(0.05)  # polling from outside, as clients do


@asynccontextmanager
async def with_batches(database_url: str, **more: Any) -> AsyncIterator[Running]:
    async with claude(QUICK) as (url, _):
        settings = {
            "database": database_url,
            "upstream": url,
            "batch_engine": "upstream",
            "batch_poll_s": 0.1,
            "upstream_key": "k",
        }
        async with server(settings={**settings, **more}) as running:
            yield running


async def test_calls_that_may_wait_are_answered_through_one_batch(database_url: str) -> None:
    async with with_batches(database_url, offload_hold_s=1.0) as running:
        client = running.client
        made = [await ask(client, POLLED, f"number {i}") for i in range(5)]
        assert {one["type"] for one in made} == {"deferred_message"}
        assert [one["state"] for one in made] == ["waiting"] * 5
        found = [await answered(client, one["id"]) for one in made]
        assert [(one["via"], one["status"]) for one in found] == [("batch", 200)] * 5
        assert all(one["answer"]["type"] == "message" for one in found)
        assert {one["answer"]["usage"]["service_tier"] for one in found} == {"batch"}
        batches = (await client.messages.batches.list()).data
        assert sum(batch.request_counts.succeeded for batch in batches) == 5
        bill = await client.get("/freehold/v1/bill", cast_to=dict[str, Any])
        assert bill["total"]["calls"] == 5


async def test_without_a_wish_to_poll_the_connection_is_held_until_the_answer_is_there(database_url: str) -> None:
    async with with_batches(database_url, offload_hold_s=0.2) as running:
        whole = await ask(running.client, LATER)
        assert (whole["type"], whole["usage"]["service_tier"]) == ("message", "batch")


async def test_a_deadline_that_is_too_near_for_a_batch_is_asked_at_once(database_url: str) -> None:
    async with with_batches(database_url) as running:
        made = await ask(running.client, {**POLLED, "x-freehold-deadline-s": "120"})
        found = await answered(running.client, made["id"])
        assert (found["via"], found["status"]) == ("interactive", 200)
        assert (await running.client.messages.batches.list()).data == []


async def test_where_batches_cost_no_less_every_call_is_asked_at_once(database_url: str) -> None:
    upstream = Scripted(fine)
    async with server(upstream=upstream, settings={"database": database_url}) as running:
        made = await ask(running.client, POLLED)
        assert (await answered(running.client, made["id"]))["via"] == "interactive"
    [call] = upstream.calls
    assert call.caller is not None and call.deadline_ns is not None


async def test_a_call_that_no_batch_has_answered_is_asked_when_its_deadline_nears(database_url: str) -> None:
    clock = HandClock()
    settings = {"database": database_url, "batch_engine": "upstream", "offload_hold_s": 1.0, "upstream_key": "k"}
    async with (
        claude(NEVER) as (url, _),
        server(settings={**settings, "upstream": url}, clock=clock) as running,
    ):
        made = await ask(running.client, POLLED)
        passed_s = await handed_over(url, clock)
        await clock.advance(7_200 - 600 - passed_s)
        assert (await polled(running.client, made["id"]))["state"] == "waiting"
        await clock.advance(500)
        found = await answered(running.client, made["id"])
        assert (found["via"], found["status"]) == ("interactive", 200)


async def handed_over(url: str, clock: HandClock) -> int:
    """Wait until Claude has a batch, a second of the clock at a time; gives how many. A call that the clock takes close
    to its deadline before that is asked at once, which is another story.
    """
    async with AsyncAnthropic(base_url=url, api_key="k") as there:
        for passed_s in range(1, 60):
            await clock.advance(1)
            for _ in range(20):
                if (await there.messages.batches.list()).data:
                    return passed_s
                await asyncio.sleep(0.02)  # the server works in tasks of its own
    raise AssertionError("no batch came")


async def test_what_the_upstream_refuses_is_the_answer(database_url: str) -> None:
    async with with_batches(database_url, offload_hold_s=0.2) as running:
        body = {"model": "claude-none"}
        made = await ask(running.client, POLLED, **body)
        found = await answered(running.client, made["id"])
        assert (found["status"], found["answer"]["type"], found["via"]) == (404, "error", "batch")
        with pytest.raises(Exception, match="claude-none"):
            await ask(running.client, LATER, **body)


async def test_nothing_is_deferred_that_did_not_ask_for_it(database_url: str) -> None:
    upstream = Scripted(lambda text, _: (200, message("at once")))
    async with server(upstream=upstream, settings={"database": database_url}) as running:
        whole = await ask(running.client, {"x-freehold-deadline-s": "7200", "prefer": "respond-async"})
        assert whole["content"][0]["text"] == "at once", "a deadline alone only bounds retries"


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize(
    ("headers", "more", "told"),
    [
        ({"x-freehold-offload": "batch"}, {}, "needs x-freehold-deadline-s"),
        ({**LATER, "x-freehold-offload": "yes"}, {}, "must be `batch`"),
        (LATER, {"stream": True}, "stream: is not taken"),
        (LATER, {"speed": "fast"}, "speed: is not taken"),
    ],
)
async def test_what_cannot_wait_is_refused_with_the_reason(
    database_url: str, headers: dict[str, str], more: dict[str, Any], told: str
) -> None:
    async with server(settings={"database": database_url}) as running:
        with pytest.raises(BadRequestError, match=told):
            await ask(running.client, headers, **more)
        with pytest.raises(AuthenticationError):
            await ask(running.client.with_options(api_key="sk-fh-" + "x" * 43), POLLED)


@slice_on("sqlite")
async def test_a_slice_of_the_simulated_day_misses_no_deadline_and_costs_less(database_url: str) -> None:
    found = await day(60, 1, database_url, hours=1, deadlines_s=(180, 600, 1_800, 5_400))
    assert (found["calls"], found["unanswered"], found["missed"]) == (60, 0, 0)
    assert found["by_batch"] > 10 and found["share_of_all_interactive"] < 0.95


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_ten_thousand_calls_of_a_day_miss_no_deadline(database_url: str) -> None:
    found = await day(10_000, 4, database_url)
    assert (found["calls"], found["unanswered"], found["missed"]) == (10_000, 0, 0)
    assert found["share_of_all_interactive"] < 0.9


def test_the_committed_day_misses_no_deadline() -> None:
    with open("benchmarks/results/offload.json", encoding="utf-8") as file:
        found = json.load(file)["result"]
    assert (found["calls"], found["unanswered"], found["missed"]) == (10_000, 0, 0)


async def test_a_call_that_was_acknowledged_is_answered_by_the_next_server_if_the_first_one_dies(
    tmp_path: Path,
) -> None:
    over = asyncio.Event()

    async def silent(_request: Request, _line: Line) -> None:
        await over.wait()

    async def answers(_request: Request, line: Line) -> None:
        await line.answer(200, message("the second server"))

    async with scripted(silent) as one, scripted(answers) as other:
        first = ServerProcess(tmp_path / "data", arguments=["--upstream", one.url])
        await asyncio.to_thread(first.start)
        async with AsyncAnthropic(base_url=first.address, api_key=first.key, max_retries=0) as client:
            made = await ask(client, POLLED)
        await asyncio.to_thread(first.kill)
        second = ServerProcess(tmp_path / "data", arguments=["--upstream", other.url])
        await asyncio.to_thread(second.start)
        try:
            async with AsyncAnthropic(base_url=second.address, api_key=second.key, max_retries=0) as client:
                async with asyncio.timeout(120):  # the dead server's lease runs out
                    while True:
                        found = await polled(client, made["id"])
                        if found["state"] == "done":
                            break
                        await asyncio.sleep(0.2)  # polling from outside
        finally:
            over.set()  # the upstream ends only when what it is asked has ended
            await asyncio.to_thread(second.kill)
    assert found["answer"]["content"][0]["text"] == "the second server"
