"""Faults on order: whom they hit, and what becomes of a request that is hit."""

from __future__ import annotations

import pytest

from freehold.calls import Attempted, NotAnswered
from freehold.clock import HandClock
from freehold.errors import InvalidRequest
from freehold.simulator.faults import KINDS, Fault, Order, from_header, order_from
from freehold.simulator.upstream import Simulator
from tests.simulator.kit import HAIKU, ask, body, simulator, text_of


async def statuses(one: Simulator, count: int, model: str = HAIKU) -> list[int]:
    return [(await ask(one, body(f"a {n}", model=model)))[0] for n in range(count)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"times": 2}, [529, 529, 200, 200, 200, 200]),
        ({"every": 3}, [200, 200, 529, 200, 200, 529]),
        ({"at": [2, 5]}, [200, 529, 200, 200, 529, 200]),
        ({"every": 2, "times": 1}, [200, 529, 200, 200, 200, 200]),
        ({"model": "claude-opus-5"}, [200] * 6),
        ({"rate": 0}, [200] * 6),
        ({"rate": 1}, [529] * 6),
        ({}, [529] * 6),
    ],
)
async def test_an_order_hits_whom_it_says(given: dict[str, object], expected: list[int]) -> None:
    one = simulator()
    one.faults.order(order_from({"kind": "overloaded", **given}))
    assert await statuses(one, 6) == expected


async def test_a_rate_hits_about_that_share_and_always_the_same_requests() -> None:
    async def run() -> list[int]:
        one = simulator(seed=4)
        one.faults.order(order_from({"kind": "api_error", "rate": 0.2}))
        return await statuses(one, 200)

    first = await run()
    assert first == await run()
    assert 20 <= first.count(500) <= 60


async def test_a_span_of_time_hits_only_within_it() -> None:
    clock = HandClock()
    one = Simulator(clock)
    start = clock.now_us()
    one.faults.order(Order(Fault("overloaded"), from_us=start + 10_000_000, until_us=start + 20_000_000))
    found = []
    for _ in range(4):
        found += await statuses(one, 1)
        await clock.advance(8)
    assert found == [200, 200, 529, 200]


async def test_the_oldest_order_wins_and_clearing_ends_all() -> None:
    one = simulator()
    one.faults.order(order_from({"kind": "rate_limit", "times": 1}))
    one.faults.order(order_from({"kind": "overloaded"}))
    assert await statuses(one, 2) == [429, 529]
    one.faults.clear()
    assert await statuses(one, 1) == [200]


async def test_the_header_hits_one_request() -> None:
    one = simulator()
    headers = [(b"x-freehold-fault", b"bad_gateway")]
    assert (await ask(one, body("a"), headers=headers))[0] == 502
    assert (await ask(one, body("a")))[0] == 200


async def test_the_header_s_times_are_tries_of_the_client() -> None:
    one = simulator()
    for retry, status in (("0", 529), ("1", 529), ("2", 200)):
        headers = [(b"x-freehold-fault", b"overloaded; times=2"), (b"x-stainless-retry-count", retry.encode())]
        assert (await ask(one, body("a"), headers=headers))[0] == status


async def test_a_reset_before_the_answer_is_not_answered() -> None:
    with pytest.raises(NotAnswered) as caught:
        await ask(simulator(), body("a"), headers=[(b"x-freehold-fault", b"reset")])
    assert caught.value.attempted is Attempted.UNANSWERED


async def test_a_failed_request_costs_nothing_and_stands_on_the_bill() -> None:
    one = simulator()
    one.faults.order(order_from({"kind": "overloaded"}))
    await statuses(one, 1)
    line = one.claude.account.lines()[-1]
    assert (line.status, line.error_type, line.fault, line.nanodollars) == (529, "overloaded_error", "overloaded", 0)


async def test_what_was_sent_before_a_stream_broke_is_billed() -> None:
    one = simulator(brain="echo")
    request = body("word " * 400, stream=True)
    with pytest.raises(Exception, match="Overloaded"):
        await ask(one, request, headers=[(b"x-freehold-fault", b"overloaded_in_stream; after=120")])
    line = one.claude.account.lines()[-1]
    assert line.output_tokens == 120 and line.nanodollars > 0 and line.fault == "overloaded_in_stream"


async def test_slow_and_stalled_answers_come_whole_in_the_end() -> None:
    import asyncio

    for fault in (b"slow; seconds=2; per_second=10", b"stall; seconds=5", b"stall; seconds=5; after=4"):
        for stream in (False, True):
            clock = HandClock()
            one = Simulator(clock, brain="echo")
            request = body("one two three four five six seven eight", stream=stream)
            task = asyncio.create_task(ask(one, request, headers=[(b"x-freehold-fault", fault)]))
            for _ in range(200):
                await asyncio.sleep(0)
            assert not task.done(), fault
            for _ in range(40):
                await clock.advance(0.5)
                for _ in range(20):
                    await asyncio.sleep(0)
            assert text_of((await task)[1]) == "one two three four five six seven eight"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "'' is no fault. Known are rate_limit"),
        ("explode", "'explode' is no fault"),
        ("stall; second=5", "'second' is no setting. Known are after, seconds"),
        ("stall; seconds=long", "seconds must be a number"),
        ("stall; seconds=601", "seconds must be a number up to 600"),
        ("stall; seconds=nan", "seconds must be a number"),
        ("overloaded; times=x", "times must be a number"),
    ],
)
def test_a_wrong_header_is_told_what_would_be_right(text: str, told: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        from_header(text)
    assert told in caught.value.message


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_leaves_the_simulator_usable(kind: str) -> None:
    one = simulator()
    for stream in (False, True):
        one.faults.order(order_from({"kind": kind, "times": 1, "seconds": 0, "per_second": 1e9}))
        try:
            await ask(one, body("a b c", stream=stream))
        except Exception as error:  # noqa: BLE001  (some faults are exceptions; what counts is what follows)
            assert str(error)
        one.faults.clear()
        assert (await ask(one, body("a b c", stream=stream)))[0] == 200


def test_no_more_than_a_hundred_orders_stand() -> None:
    one = simulator()
    for _ in range(100):
        one.faults.order(order_from({"kind": "overloaded"}))
    with pytest.raises(InvalidRequest, match="100 orders stand already"):
        one.faults.order(order_from({"kind": "overloaded"}))
