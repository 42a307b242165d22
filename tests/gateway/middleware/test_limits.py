"""Limits per key and workspace in the pipeline: admitted, waited for in a fair order, refused with Claude's 429."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from anthropic import RateLimitError

from freehold.calls import Call, Caller, Handler, Reply
from freehold.clock import HandClock
from freehold.errors import Misconfigured, RateLimited
from freehold.gateway.attempts import Attempt, attempts_of
from freehold.gateway.middleware.limits import Limits, LimitSettings
from freehold.testing import server
from freehold.wire.facts import Facts, Usage
from tests.gateway.house import until

ALICE, BOB = Caller("wrkspc_one", "apikey_alice", "member"), Caller("wrkspc_one", "apikey_bob", "member")


class Inner:
    """An upstream that holds every call until it is let go, and notes who came in which order."""

    def __init__(self, usage: Usage | None = None) -> None:
        self.order: list[str] = []
        self.go = asyncio.Event()
        self.usage = usage

    @asynccontextmanager
    async def __call__(self, call: Call) -> AsyncIterator[Reply]:
        assert call.caller is not None
        self.order.append(call.caller.key_id)
        await self.go.wait()
        attempts_of(call).append(Attempt("up", call.model, 0, 200, whole=Facts(usage=self.usage, complete=True)))
        yield Reply(200, [(b"anthropic-ratelimit-requests-limit", b"9999"), (b"request-id", b"req_up")], whole=b"{}")


def call_of(caller: Caller, **members: Any) -> Call:
    return Call("req_1", "messages", b"x" * 400, {}, [], "m", False, 0, caller, **members)


async def ask(handler: Handler, caller: Caller = ALICE, **members: Any) -> Reply:
    async with handler(call_of(caller, **members)) as reply:
        return reply


def limited(inner: Inner, **settings: Any) -> tuple[Handler, HandClock]:
    clock = HandClock()
    limits = Limits(LimitSettings(**settings), clock)
    assert limits.active
    return limits(inner), clock


def _so_many_done(tasks: list[asyncio.Task[Reply]], count: int) -> bool:
    return sum(task.done() for task in tasks) == count


async def test_the_answer_tells_our_limits_in_place_of_the_upstreams() -> None:
    inner = Inner()
    inner.go.set()
    handler, _ = limited(inner, key_requests_per_minute=10)
    reply = await ask(handler)
    assert reply.headers == [
        (b"request-id", b"req_up"),
        (b"anthropic-ratelimit-requests-limit", b"10"),
        (b"anthropic-ratelimit-requests-remaining", b"9"),
        (b"anthropic-ratelimit-requests-reset", b"2026-01-01T00:00:06Z"),
    ]


async def test_a_wait_that_would_be_too_long_is_a_429_at_once_that_says_when() -> None:
    inner = Inner()
    inner.go.set()
    handler, _ = limited(inner, key_requests_per_minute=2)
    for _ in range(2):
        await ask(handler)
    with pytest.raises(RateLimited, match="2 requests per minute of this key") as caught:
        await ask(handler)
    assert caught.value.headers["retry-after"] == "30"
    assert caught.value.headers["anthropic-ratelimit-requests-remaining"] == "0"
    await ask(handler, BOB)  # another key has its own
    await ask(handler, batch_id="msgbatch_1")  # batches are not limited here


async def test_a_burst_waits_a_little_and_goes_through() -> None:
    inner = Inner()
    inner.go.set()
    handler, clock = limited(inner, key_requests_per_minute=60, limit_wait_s=5)
    for _ in range(60):
        await ask(handler)
    burst = [asyncio.create_task(ask(handler)) for _ in range(3)]
    for done in (1, 2, 3):
        await until(lambda: clock._sleepers)
        await clock.advance(1)
        await until(partial(_so_many_done, burst, done))
    assert all(task.result().status == 200 for task in burst)


async def test_no_more_calls_are_open_at_a_time_and_keys_take_turns() -> None:
    inner = Inner()
    handler, clock = limited(inner, workspace_concurrency=1, limit_wait_s=60)
    tasks = [asyncio.create_task(ask(handler, caller)) for caller in (ALICE, ALICE, ALICE, BOB)]
    await until(lambda: clock._sleepers)
    assert inner.order == [ALICE.key_id]
    inner.go.set()
    await asyncio.gather(*tasks)
    assert inner.order == [ALICE.key_id, ALICE.key_id, BOB.key_id, ALICE.key_id]


async def test_whoever_waits_too_long_is_refused() -> None:
    inner = Inner()
    handler, clock = limited(inner, key_concurrency=1, limit_wait_s=5)
    first = asyncio.create_task(ask(handler))
    await until(lambda: inner.order)
    second = asyncio.create_task(ask(handler))
    await until(lambda: clock._sleepers)
    await clock.advance(5.1)
    with pytest.raises(RateLimited, match="1 calls at a time of this key"):
        await second
    inner.go.set()
    await first


async def test_the_queue_has_an_end() -> None:
    inner = Inner()
    handler, clock = limited(inner, key_concurrency=1, limit_waiting=1)
    waiting = [asyncio.create_task(ask(handler)) for _ in range(2)]
    await until(lambda: clock._sleepers)
    with pytest.raises(RateLimited, match="1 waiting calls"):
        await ask(handler)
    inner.go.set()
    await asyncio.gather(*waiting)


async def test_a_client_that_leaves_the_queue_leaves_no_trace() -> None:
    inner = Inner()
    handler, clock = limited(inner, key_concurrency=1, limit_wait_s=60)
    first, second, third = (asyncio.create_task(ask(handler)) for _ in range(3))
    await until(lambda: clock._sleepers)
    second.cancel()
    await asyncio.wait([second])
    inner.go.set()
    await asyncio.gather(first, third)
    assert (await ask(handler)).status == 200


async def test_what_fails_gives_its_place_back() -> None:
    class Failing(Inner):
        def __call__(self, call: Call) -> Any:
            raise RateLimited("the upstream's own")

    handler, _ = limited(Failing(), key_concurrency=1)
    for _ in range(3):
        with pytest.raises(RateLimited, match="own"):
            await ask(handler)


async def test_output_that_was_really_generated_counts() -> None:
    inner = Inner(Usage(input_tokens=10, output_tokens=120, cache_read_tokens=10_000))
    inner.go.set()
    handler, _ = limited(inner, key_output_tokens_per_minute=60, key_input_tokens_per_minute=600)
    await ask(handler)
    with pytest.raises(RateLimited, match="60 output tokens per minute") as caught:
        await ask(handler)
    assert caught.value.headers["retry-after"] == "61"
    assert caught.value.headers["anthropic-ratelimit-input-tokens-remaining"] == "590"


async def test_one_key_may_have_limits_of_its_own() -> None:
    inner = Inner()
    inner.go.set()
    handler, _ = limited(inner, limits={BOB.key_id: {"requests_per_minute": 1}})
    for _ in range(5):
        await ask(handler, ALICE)
    await ask(handler, BOB)
    with pytest.raises(RateLimited, match="1 requests per minute"):
        await ask(handler, BOB)


@pytest.mark.parametrize("own", [{}, {"per_hour": 3}, {"concurrency": -1}, {"concurrency": "many"}, 7])
def test_limits_that_cannot_be_meant_stop_the_start(own: Any) -> None:
    with pytest.raises(Misconfigured, match=r"limits\.apikey_x"):
        Limits(LimitSettings(limits={"apikey_x": own}), HandClock())


async def test_the_official_client_reads_our_429() -> None:
    async with server(settings={"key_requests_per_minute": 1}, strict=True) as running:
        client = running.new_client(max_retries=0)
        ask = partial(
            client.messages.with_raw_response.create,
            model="claude-haiku-5-5",
            max_tokens=20,
            messages=[{"role": "user", "content": "hello"}],
        )
        assert (await ask()).headers["anthropic-ratelimit-requests-remaining"] == "0"
        with pytest.raises(RateLimitError) as caught:
            await ask()
        assert 0 < int(caught.value.response.headers["retry-after"]) <= 60


def test_without_limits_there_is_nothing_to_look_at() -> None:
    assert not Limits(LimitSettings(), HandClock()).active
