"""Trying again, between real sockets: what is tried again, what never, what is waited for, and what the client sees."""

from __future__ import annotations

import asyncio
import json

import pytest

from freehold.clock import HandClock
from freehold.gateway.backoff import RetrySettings
from freehold.outbound.limits import Limits
from tests.gateway.house import (
    BLOCK,
    BODY,
    DELTAS,
    ENDING,
    EVENTS,
    MESSAGE,
    OVERLOADED,
    PING,
    START,
    STREAM,
    RawClient,
    ask,
    error_answer,
    event,
    gateway,
    in_turn,
    stream_all,
    until,
    whole,
)
from tests.scripted_upstream import Line, Request, Script

TWICE = RetrySettings(max_retries=2)
HOLDING = RetrySettings(max_retries=2, hold_ms=5000)
STREAM_BODY = json.dumps({**BODY, "stream": True}).encode()


async def hang_up(_: Request, line: Line) -> None:
    line.hang_up()


def stream_of(*parts: bytes) -> Script:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        for part in parts:
            await line.chunk(part)
        await line.chunk(b"")

    return script


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
async def test_a_passing_error_is_tried_again_unseen(status: int) -> None:
    async with gateway(in_turn(error_answer(status, "api_error"), whole), retries=TWICE) as house:
        assert (await ask(house))[::2] == (200, MESSAGE)
        row = await house.row()
        assert (row.status, row.attempts, row.usage_known) == (200, 2, "exact")
        assert house.upstream.requests[0].body == house.upstream.requests[1].body


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413])
async def test_a_lasting_error_is_handed_on_at_once(status: int) -> None:
    async with gateway(error_answer(status, "invalid_request_error"), retries=TWICE) as house:
        assert (await ask(house))[0] == status
        assert len(house.upstream.requests) == 1


async def test_what_the_upstream_says_about_retrying_has_the_last_word() -> None:
    never = error_answer(529, "overloaded_error", "x-should-retry: false")
    async with gateway(never, retries=TWICE) as house:
        assert (await ask(house))[0] == 529
        assert len(house.upstream.requests) == 1
        house.upstream.script = in_turn(error_answer(400, "invalid_request_error", "x-should-retry: true"), whole)
        assert (await ask(house))[0] == 200


async def test_the_last_answer_leaves_as_it_came_when_we_give_up() -> None:
    answers = in_turn(*(error_answer(529, "overloaded_error", f"x-number: {n}") for n in range(9)))
    async with gateway(answers, retries=TWICE) as house:
        status, headers, body = await ask(house)
        assert (status, headers["x-number"], headers["request-id"]) == (529, "2", "req_upstream")
        assert json.loads(body)["error"]["type"] == "overloaded_error"
        row = await house.row()
        assert (row.status, row.error_type, row.attempts) == (529, "overloaded_error", 3)


async def test_an_upstream_that_hangs_up_without_an_answer_is_asked_again() -> None:
    async with gateway(in_turn(hang_up, hang_up, whole), retries=TWICE) as house:
        assert (await ask(house))[0] == 200
        assert (await house.row()).attempts == 3


async def test_an_answer_cut_short_before_anything_was_handed_on_is_asked_for_again() -> None:
    async def half(_: Request, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{")
        line.writer.close()

    async with gateway(in_turn(half, whole), retries=TWICE) as house:
        assert (await ask(house))[::2] == (200, MESSAGE)


async def test_a_connection_that_died_while_it_rested_costs_no_attempt() -> None:
    async def once(request: Request, line: Line) -> None:
        await whole(request, line)
        line.writer.close()

    async with gateway(once) as house:
        for _ in range(3):
            assert (await ask(house))[0] == 200
            await until(lambda: house.client.open_connections == 0)
        assert [row.attempts for row in house.rows] == [1, 1, 1]


@pytest.mark.parametrize("hint", ["retry-after: 7", "retry-after-ms: 7000"])
async def test_what_the_upstream_asks_for_is_waited(hint: str) -> None:
    clock = HandClock()
    answers = in_turn(error_answer(429, "rate_limit_error", hint), whole)
    async with gateway(answers, retries=TWICE, clock=clock) as house:
        asking = asyncio.create_task(ask(house))
        await until(lambda: clock._sleepers)
        await clock.advance(6.9)
        assert len(house.upstream.requests) == 1
        await clock.advance(0.2)
        assert (await asking)[0] == 200


async def test_a_wait_beyond_a_minute_is_the_clients_to_take() -> None:
    async with gateway(error_answer(429, "rate_limit_error", "retry-after: 61"), retries=TWICE) as house:
        status, headers, _ = await ask(house)
        assert (status, headers["retry-after"]) == (429, "61")
        assert len(house.upstream.requests) == 1


async def test_a_wait_that_outlasts_the_clients_patience_is_not_taken() -> None:
    async with gateway(error_answer(429, "rate_limit_error", "retry-after: 30"), retries=TWICE) as house:
        status, headers, _ = await ask(house, None, "x-stainless-timeout: 20")
        assert (status, headers["retry-after"]) == (429, "30")
        assert len(house.upstream.requests) == 1


async def test_a_client_that_leaves_during_a_wait_ends_the_retries() -> None:
    clock = HandClock()
    async with gateway(error_answer(529, "overloaded_error", "retry-after: 5"), retries=TWICE, clock=clock) as house:
        async with RawClient.connected(house.url) as raw:
            await raw.post(STREAM_BODY)
            await until(lambda: clock._sleepers)
            raw.leave()
            row = await house.row()
        assert (row.status, row.error_type, row.attempts) == (499, "client_left", 1)
        assert len(house.upstream.requests) == 1


# The beginning of a stream, held back.


@pytest.mark.parametrize(
    "early",
    [
        (OVERLOADED,),
        (START, OVERLOADED),
        (START, PING, OVERLOADED),
        (START + OVERLOADED,),
        (START, BLOCK, PING, OVERLOADED),
    ],
)
async def test_an_error_before_any_content_is_retried_unseen(early: tuple[bytes, ...]) -> None:
    async with gateway(in_turn(stream_of(*early), stream_all), retries=HOLDING) as house:
        assert (await ask(house, STREAM_BODY))[2] == STREAM
        row = await house.row()
        assert (row.status, row.error_type, row.attempts, row.usage_known) == (200, None, 2, "exact")


async def test_a_break_before_any_content_is_retried_unseen() -> None:
    async def broken(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(START)
        line.writer.close()

    async with gateway(in_turn(broken, stream_all), retries=HOLDING) as house:
        assert (await ask(house, STREAM_BODY))[2] == STREAM


@pytest.mark.parametrize("late", [(START, BLOCK, DELTAS[0], OVERLOADED), (START, BLOCK, *DELTAS, OVERLOADED)])
async def test_an_error_after_content_is_never_retried(late: tuple[bytes, ...]) -> None:
    async with gateway(in_turn(stream_of(*late), stream_all), retries=HOLDING) as house:
        assert (await ask(house, STREAM_BODY))[2] == b"".join(late)
        row = await house.row()
        assert (row.status, row.error_type, row.attempts) == (200, "overloaded_error", 1)


async def test_an_error_that_will_not_pass_is_handed_on_as_it_came() -> None:
    refused = event("error", error={"type": "invalid_request_error", "message": "no"})
    async with gateway(stream_of(START, refused), retries=HOLDING) as house:
        assert (await ask(house, STREAM_BODY))[2] == START + refused
        assert len(house.upstream.requests) == 1


async def test_an_early_error_is_handed_on_when_we_give_up() -> None:
    async with gateway(stream_of(START, OVERLOADED), retries=HOLDING) as house:
        assert (await ask(house, STREAM_BODY))[2] == START + OVERLOADED
        assert (await house.row()).attempts == 3


async def test_an_early_break_is_an_error_when_we_give_up() -> None:
    async def broken(_: Request, line: Line) -> None:
        await line.begin_stream()
        line.writer.close()

    async with gateway(broken, retries=HOLDING) as house:
        status, _, body = await ask(house, STREAM_BODY)
        assert (status, json.loads(body)["error"]["type"]) == (502, "api_error")
        row = await house.row()
        assert (row.status, row.attempts) == (502, 3)


@pytest.mark.parametrize("pieces", [[START, PING], [START], [PING, START, PING]])
async def test_the_beginning_is_held_no_longer_than_it_may(pieces: list[bytes]) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        for piece in pieces:
            await line.chunk(piece)
        await go.wait()
        for data in (BLOCK, *DELTAS, *ENDING):
            await line.chunk(data)
        await line.chunk(b"")

    go = asyncio.Event()
    async with gateway(script, retries=RetrySettings(hold_ms=30)) as house, RawClient.connected(house.url) as raw:
        await raw.post(STREAM_BODY)
        await raw.head()
        chunks = raw.chunks()
        assert await anext(chunks) == b"".join(pieces)
        go.set()
        assert b"".join([chunk async for chunk in chunks]) == b"".join([BLOCK, *DELTAS, *ENDING])
        assert (await house.row()).usage_known == "exact"


async def test_half_an_event_that_came_before_the_hold_ran_out_is_whole_in_the_end() -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(START)
        await line.chunk(BLOCK[:20])
        await go.wait()
        await line.chunk(BLOCK[20:])
        await line.chunk(b"".join([*DELTAS, *ENDING]))
        await line.chunk(b"")

    go = asyncio.Event()
    async with gateway(script, retries=RetrySettings(hold_ms=30)) as house, RawClient.connected(house.url) as raw:
        await raw.post(STREAM_BODY)
        await raw.head()
        chunks = raw.chunks()
        assert await anext(chunks) == START
        go.set()
        assert b"".join([chunk async for chunk in chunks]) == b"".join([BLOCK, *DELTAS, *ENDING])
        assert (await house.row()).usage_known == "exact"


async def test_content_is_not_held() -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        for data in EVENTS[:4]:
            await line.chunk(data)
        await go.wait()
        await line.chunk(b"".join(EVENTS[4:]))
        await line.chunk(b"")

    go = asyncio.Event()
    slow = RetrySettings(hold_ms=60_000)
    async with gateway(script, retries=slow) as house, RawClient.connected(house.url) as raw:
        await raw.post(STREAM_BODY)
        await raw.head()
        chunks = raw.chunks()
        assert await anext(chunks) == b"".join(EVENTS[:4])
        go.set()
        assert b"".join([chunk async for chunk in chunks]) == b"".join(EVENTS[4:])


async def test_a_client_that_leaves_while_the_beginning_is_held_lets_the_upstream_go() -> None:
    gone = asyncio.Event()

    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(START)
        assert await line.closed_by_peer()
        gone.set()

    async with gateway(script, retries=HOLDING) as house:
        async with RawClient.connected(house.url) as raw:
            await raw.post(STREAM_BODY)
            await house.upstream.arrived(1)
            raw.leave()
            async with asyncio.timeout(60):
                await gone.wait()
        assert (await house.row()).status == 499
        await until(lambda: house.client.open_connections == 0)


async def test_a_client_that_leaves_after_a_hold_that_ran_out_leaves_no_read_behind() -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(START)
        assert await line.closed_by_peer()

    async with gateway(script, retries=RetrySettings(hold_ms=10)) as house:
        async with RawClient.connected(house.url) as raw:
            await raw.post(STREAM_BODY)
            await raw.head()
            raw.leave()
        row = await house.row()
        assert (row.status, row.usage_known, row.input_tokens) == (499, "partial", 25)
        await until(lambda: house.client.open_connections == 0)


async def test_a_stream_that_ends_before_any_content_is_asked_for_again() -> None:
    async with gateway(in_turn(stream_of(START, PING), stream_of(), stream_all), retries=HOLDING) as house:
        assert (await ask(house, STREAM_BODY))[2] == STREAM
        assert (await house.row()).attempts == 3


async def test_silence_is_given_up_and_tried_again() -> None:
    async def silent(_: Request, line: Line) -> None:
        assert await line.closed_by_peer()

    async with gateway(in_turn(silent, whole), retries=TWICE, limits=Limits(silence_s=0.3)) as house:
        assert (await ask(house))[0] == 200
        house.upstream.script = silent
        status, _, body = await ask(house)
        assert (status, json.loads(body)["error"]["type"]) == (504, "timeout_error")
