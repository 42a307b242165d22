"""Token buckets: continuous refill, cache reads left out, output as it really is, apart by workspace and model."""

from __future__ import annotations

from typing import Any

from freehold.clock import HandClock
from freehold.simulator.model.limits import TIERS, Limits
from freehold.simulator.upstream import Simulator
from tests.simulator.kit import HAIKU, OLD_HAIKU, ask, body, call_of, message


def limited(**limits: int) -> tuple[Simulator, HandClock]:
    clock = HandClock()
    return Simulator(clock, brain="echo", limits=Limits(**limits)), clock


async def headers_of(one: Simulator, request: dict[str, Any]) -> dict[str, str]:
    async with one(call_of(request)) as reply:
        return {name.decode(): value.decode() for name, value in reply.headers}


async def test_requests_refill_continuously() -> None:
    one, clock = limited(requests=60)
    for _ in range(60):
        assert (await ask(one, body("a")))[0] == 200
    status, told = await ask(one, body("a"))
    assert status == 429 and "60 requests per minute" in told["error"]["message"]
    await clock.advance(1)
    assert (await ask(one, body("a")))[0] == 200
    assert (await ask(one, body("a")))[0] == 429


async def test_input_tokens_are_taken_and_cache_reads_are_not() -> None:
    system = [{"type": "text", "text": "。" * 6000, "cache_control": {"type": "ephemeral"}}]
    one, _ = limited(input_tokens=7_000)
    assert (await ask(one, body("a", system=system)))[0] == 200
    for _ in range(5):  # everything but a few tokens is read from the cache
        assert (await ask(one, body("a", system=system)))[0] == 200
    status, told = await ask(one, body("。" * 2_000))
    assert status == 429 and "input tokens" in told["error"]["message"]


async def test_output_counts_as_it_was_generated_not_as_max_tokens() -> None:
    one, clock = limited(output_tokens=1_000)
    assert (await ask(one, body("one two", max_tokens=60_000)))[0] == 200
    assert (await ask(one, body("。" * 1_500, max_tokens=2_000)))[0] == 200  # may go below zero
    status, told = await ask(one, body("a"))
    assert status == 429 and "output tokens" in told["error"]["message"]
    await clock.advance(60)
    assert (await ask(one, body("a")))[0] == 200


async def test_a_prompt_larger_than_the_whole_bucket_never_fits() -> None:
    one, clock = limited(input_tokens=100)
    for _ in range(2):
        assert (await ask(one, body("。" * 200)))[0] == 429
        await clock.advance(600)


async def test_workspaces_and_models_have_buckets_of_their_own() -> None:
    one, _ = limited(requests=1)
    assert (await ask(one, body("a")))[0] == 200
    assert (await ask(one, body("a")))[0] == 429
    assert (await ask(one, body("a"), workspace="other"))[0] == 200
    assert (await ask(one, body("a", model=HAIKU)))[0] == 200


async def test_an_alias_shares_the_bucket_of_its_model() -> None:
    one, _ = limited(requests=1)
    assert (await ask(one, body("a", model=OLD_HAIKU)))[0] == 200
    assert (await ask(one, body("a", model="claude-haiku-4-5-20251001")))[0] == 429


async def test_headers_tell_limit_rest_and_reset() -> None:
    one, clock = limited(requests=60, input_tokens=100_000, output_tokens=50_000)
    found = await headers_of(one, body("。" * 10_000, max_tokens=5))
    assert found["anthropic-ratelimit-requests-limit"] == "60"
    assert found["anthropic-ratelimit-requests-remaining"] == "59"
    assert found["anthropic-ratelimit-input-tokens-remaining"] == "90000"
    assert found["anthropic-ratelimit-output-tokens-remaining"] in ("50000", "49995")
    assert found["anthropic-ratelimit-tokens-limit"] == "100000"
    assert found["anthropic-ratelimit-input-tokens-reset"] == "2026-01-01T00:00:07Z"
    await clock.advance(60)
    assert (await headers_of(one, body("a", max_tokens=5)))["anthropic-ratelimit-requests-remaining"] == "59"


async def test_a_refusal_says_when_to_come_back_and_that_is_right() -> None:
    one, clock = limited(requests=10)
    for _ in range(10):
        await message(one, body("a"))
    wait_s = int((await headers_of(one, body("a")))["retry-after"])
    assert wait_s == 6
    await clock.advance(wait_s)
    await message(one, body("a"))


async def test_counting_has_a_limit_of_its_own() -> None:
    one, _ = limited(requests=1, count_requests=2)
    counted = {"model": HAIKU, "messages": [{"role": "user", "content": "a"}]}
    assert [(await ask(one, counted, route="count_tokens"))[0] for _ in range(3)] == [200, 200, 429]
    assert (await ask(one, body("a")))[0] == 200


async def test_without_limits_there_are_no_headers() -> None:
    found = await headers_of(Simulator(HandClock()), body("a"))
    assert not any(name.startswith("anthropic-ratelimit") for name in found)


def test_the_tiers_grow() -> None:
    assert TIERS["start"].requests < TIERS["build"].requests < TIERS["scale"].requests
