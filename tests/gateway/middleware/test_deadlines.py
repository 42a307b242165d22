"""Deadlines and retry budgets, between real sockets: how long a call is tried, and how much an upstream has to bear."""

from __future__ import annotations

import asyncio
import json

import pytest

from freehold.clock import HandClock
from freehold.gateway.backoff import RetrySettings
from tests.gateway.house import BODY, MESSAGE, STREAM, ask, error_answer, gateway, in_turn, until, whole
from tests.scripted_upstream import Line, Request

ONCE = RetrySettings(max_retries=1)
STREAM_BODY = json.dumps({**BODY, "stream": True}).encode()
sick = error_answer(529, "overloaded_error")


async def test_a_call_with_a_deadline_is_tried_by_time_and_not_by_count() -> None:
    clock = HandClock()
    answers = in_turn(*[error_answer(529, "overloaded_error", "retry-after: 90")] * 5, whole)
    async with gateway(answers, retries=ONCE, clock=clock) as house:
        asking = asyncio.create_task(ask(house, None, "x-freehold-deadline-s: 600"))
        for tries in range(1, 6):
            await house.upstream.arrived(tries)
            await until(lambda: clock._sleepers)
            await clock.advance(90)
        assert (await asking)[::2] == (200, MESSAGE)
        assert (await house.row()).attempts == 6


async def test_what_does_not_fit_the_deadline_is_handed_on_at_once() -> None:
    late = error_answer(429, "rate_limit_error", "retry-after: 30")
    async with gateway(late, retries=ONCE) as house:
        status, headers, _ = await ask(house, None, "x-freehold-deadline-s: 20")
        assert (status, headers["retry-after"], len(house.upstream.requests)) == (429, "30", 1)


async def test_an_operator_gives_every_call_a_time_instead_of_a_count() -> None:
    settings = RetrySettings(max_retries=1, retry_for_s=600)
    async with gateway(in_turn(*[sick] * 9, whole), retries=settings) as house:
        assert (await ask(house))[0] == 200
        assert (await house.row()).attempts == 10


@pytest.mark.parametrize("body", [None, STREAM_BODY], ids=["whole", "streamed"])
async def test_a_call_whose_deadline_has_passed_is_given_up_and_the_upstream_let_go(body: bytes | None) -> None:
    gone = asyncio.Event()

    async def silent(_: Request, line: Line) -> None:
        await line.closed_by_peer()
        gone.set()

    async with gateway(silent) as house:
        status, _, answered = await ask(house, body, "x-freehold-deadline-s: 0.05")
        assert (status, json.loads(answered)["error"]["type"]) == (504, "timeout_error")
        assert "deadline" in json.loads(answered)["error"]["message"]
        await asyncio.wait_for(gone.wait(), 60)
        assert (await house.row()).error_type == "timeout_error"


async def test_a_stream_that_has_begun_is_not_cut_by_the_deadline() -> None:
    passed = asyncio.Event()

    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(STREAM[:400])
        await passed.wait()
        await line.chunk(STREAM[400:])
        await line.chunk(b"")

    async with gateway(script) as house:
        asking = asyncio.create_task(ask(house, STREAM_BODY, "x-freehold-deadline-s: 5"))
        await house.upstream.arrived(1)
        asyncio.get_running_loop().call_later(0.01, passed.set)
        assert (await asking)[::2] == (200, STREAM)


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf", "86401"])
async def test_a_deadline_that_is_none_is_refused(value: str) -> None:
    async with gateway(whole) as house:
        status, _, answered = await ask(house, None, f"x-freehold-deadline-s: {value}")
        assert (status, b"x-freehold-deadline-s" in answered) == (400, True)
        assert not house.upstream.requests


async def test_a_sick_upstream_is_not_drowned_in_retries() -> None:
    """Complaint H: retries of everybody at once make an overload worse."""
    settings = RetrySettings(max_retries=2, retry_budget=5, retry_share=0.5)
    async with gateway(sick, retries=settings) as house:
        for _ in range(20):
            assert (await ask(house))[0] == 529
        assert len(house.upstream.requests) == 25
        house.upstream.script = whole
        for _ in range(4):
            await ask(house)
        house.upstream.script = sick
        await ask(house)
        assert len(house.upstream.requests) == 25 + 4 + 3
