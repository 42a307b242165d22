"""The local engine: what it tries again, when it pauses, how it shares; and its pace."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from freehold.batches.pace import Pace
from freehold.calls import Headers
from freehold.clock import HandClock, rfc3339
from freehold.inprocess import AsgiTransport
from freehold.testing import server
from tests.batches.house import Scripted, ended, failed, fine, message, params, paused, requests, results, until

NO_RETRIES = {"max_retries": 0}


async def test_an_overloaded_upstream_is_asked_again_until_it_answers(database_url: str) -> None:
    def script(_: str, time: int) -> tuple[int, bytes, Headers] | tuple[int, bytes]:
        if time <= 2:
            return 529, failed(529, "overloaded_error"), [(b"retry-after", b"0.05")]
        return 200, message()

    upstream = Scripted(script)
    async with server(upstream=upstream, settings={"database": database_url, **NO_RETRIES}) as running:
        batch = await running.client.messages.batches.create(requests=requests(3))
        assert (await ended(running.client, batch.id)).request_counts.succeeded == 3
    assert set(upstream.asked.values()) == {3}


async def test_a_failure_inside_the_upstream_is_tried_so_often_and_then_its_error_is_the_result(
    database_url: str,
) -> None:
    def script(text: str, _: int) -> tuple[int, bytes, Headers] | tuple[int, bytes]:
        if text == "number 1":
            return 500, failed(500, "api_error"), [(b"retry-after", b"0.01")]
        return fine(text, 0)

    upstream = Scripted(script)
    settings = {"database": database_url, "batch_attempts": 3, **NO_RETRIES}
    async with server(upstream=upstream, settings=settings) as running:
        batch = await running.client.messages.batches.create(requests=requests(3))
        await ended(running.client, batch.id)
        found = await results(running.client, batch.id)
    assert upstream.asked["number 1"] == 3
    assert (found["item-1"].type, found["item-1"].error.error.message) == ("errored", "as told")
    assert found["item-0"].type == found["item-2"].type == "succeeded"


async def test_a_batch_that_meets_its_budget_pauses_and_goes_on_when_resumed(database_url: str) -> None:
    poor = True

    def script(text: str, _: int) -> tuple[int, bytes]:
        return fine(text, 0)

    class Purse(Scripted):
        def __call__(self, call: Any) -> Any:
            from freehold.errors import BillingRefused

            if poor and len(self.asked) >= 5:
                raise BillingRefused("The budget of this workspace is used up.")
            return super().__call__(call)

    upstream = Purse(script)
    async with server(upstream=upstream, settings={"database": database_url, **NO_RETRIES}) as running:
        client = running.client
        batch = await client.messages.batches.create(requests=requests(40))
        now = await paused(client, batch.id)
        assert now["paused"] == "The budget of this workspace is used up."
        assert now["processing_status"] == "in_progress" and now["waiting"] > 0 and now["errored"] == 0
        poor = False
        await client.post(f"/freehold/v1/batches/{batch.id}/resume", cast_to=dict[str, Any])
        assert (await ended(client, batch.id)).request_counts.succeeded == 40
    assert set(upstream.asked.values()) == {1}


async def test_a_key_that_the_upstream_refuses_pauses_the_batch_instead_of_spoiling_it(database_url: str) -> None:
    wrong = True

    def script(text: str, _: int) -> tuple[int, bytes]:
        return (401, failed(401, "authentication_error")) if wrong else fine(text, 0)

    upstream = Scripted(script)
    async with server(upstream=upstream, settings={"database": database_url, **NO_RETRIES}) as running:
        client = running.client
        batch = await client.messages.batches.create(requests=requests(20))
        now = await paused(client, batch.id)
        assert now["paused"] == "The upstream refuses this server's key: as told"
        wrong = False
        await client.post(f"/freehold/v1/batches/{batch.id}/resume", cast_to=dict[str, Any])
        assert (await ended(client, batch.id)).request_counts.succeeded == 20


async def test_a_small_batch_does_not_wait_for_a_large_one_and_calls_stay_below_the_limit(database_url: str) -> None:
    upstream = Scripted(fine)
    settings = {"database": database_url, "batch_concurrency": 4}
    async with server(upstream=upstream, settings=settings) as running:
        client = running.client
        large = await client.messages.batches.create(requests=requests(3_000))
        await until(lambda: sum(upstream.asked.values()) > 10)
        small = await client.messages.batches.create(requests=requests(3, first=100_000))
        await ended(client, small.id)
        assert (await client.messages.batches.retrieve(large.id)).processing_status == "in_progress"
        await client.messages.batches.cancel(large.id)
        await ended(client, large.id)
    assert upstream.most_open <= 4


async def test_what_a_batch_is_for_goes_with_each_of_its_calls(database_url: str) -> None:
    upstream = Scripted(fine)
    async with server(upstream=upstream, settings={"database": database_url}) as running:
        headers = {
            "x-freehold-task-type": "summary",
            "x-freehold-user-id": "u1",
            "anthropic-beta": "context-1m-2025-08-07",
        }
        batch = await running.client.messages.batches.create(requests=requests(2), extra_headers=headers)
        await ended(running.client, batch.id)
    for call in upstream.calls:
        assert (call.batch_id, call.task_type, call.user_id) == (batch.id, "summary", "u1")
        assert (b"anthropic-beta", b"context-1m-2025-08-07") in call.headers
        assert call.caller is not None and call.caller.key_id


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_memory_does_not_grow_with_what_comes_in(database_url: str) -> None:
    """60 MB of requests: what is resident and not a map of a file stays far below that."""
    upstream = Scripted(fine)
    upstream.gate.clear()
    long = "x" * 60_000

    async def body() -> Any:
        yield b'{"requests":['
        for number in range(1_000):
            entry = {"custom_id": f"item-{number}", "params": params(f"{number} {long}")}
            yield (b"," if number else b"") + json.dumps(entry).encode()
        yield b"]}"

    async with server(upstream=upstream, settings={"database": database_url}) as running:
        headers = {"authorization": f"Bearer {running.key}"}
        transport = AsgiTransport(running.application.asgi)
        async with httpx2.AsyncClient(transport=transport, base_url="http://x", headers=headers, timeout=60) as client:
            before = _anonymous_mb()
            made = await client.post("/v1/messages/batches", content=body())
            assert made.status_code == 200, made.text
            assert _anonymous_mb() - before < 45


def _anonymous_mb() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("RssAnon"))


# The pace.


def _pace(clock: HandClock, interactive: int = 0, most: int = 64) -> Pace:
    return Pace(most, clock, lambda: interactive)


def test_the_pace_rises_with_success_and_halves_when_the_upstream_says_stop() -> None:
    pace = _pace(HandClock())
    for _ in range(100):
        pace.heard(200, [])
    assert pace.allowed() == 64
    pace.heard(429, [(b"retry-after", b"3")])
    pace.heard(429, [(b"retry-after", b"3")])
    assert (pace.limit, pace.allowed(), pace.held_s()) == (32, 0, 3.0)


async def test_the_pace_goes_on_after_the_wait_that_was_asked_for() -> None:
    clock = HandClock()
    pace = _pace(clock)
    pace.heard(529, [(b"retry-after", b"3")])
    await clock.advance(3)
    assert pace.allowed() == 4


def test_each_interactive_call_takes_the_place_of_one_of_ours_but_one_is_always_left() -> None:
    assert _pace(HandClock(), interactive=3).allowed() == 5
    assert _pace(HandClock(), interactive=300).allowed() == 1


def test_a_fifth_of_every_rate_limit_is_left_to_others() -> None:
    clock = HandClock()
    reset = rfc3339(clock.now_us() + 60_000_000).encode()

    def headers(remaining: bytes) -> Headers:
        prefix = b"anthropic-ratelimit-requests-"
        return [(prefix + b"limit", b"1000"), (prefix + b"remaining", remaining), (prefix + b"reset", reset)]

    pace = _pace(clock)
    pace.heard(200, headers(b"500"))
    assert pace.allowed() > 0
    pace.heard(200, headers(b"100"))
    assert pace.allowed() == 0 and pace.held_s() == pytest.approx(6.0)
