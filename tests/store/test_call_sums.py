"""Sums that were made before say exactly what the rows say: at every moment, by everything, however late rows come."""

from __future__ import annotations

import random
from typing import Any

from sqlalchemy import select

from freehold.clock import HandClock
from freehold.store import traffic
from freehold.store.call_summing import CallSumming
from freehold.store.call_sums import DAY_US, DIMENSIONS, HOUR_US, Stretch, stretches
from freehold.store.calls import CallRow, add_call
from freehold.store.engine import Store
from freehold.store.recordings import RecordingRows
from freehold.store.tables import call_sums, call_sums_made
from freehold.store.usage_reports import Span, report

CHANCE = random.Random(8)
MODELS = ["claude-haiku-5-5", "claude-sonnet-5-5", None]


def a_call(number: int, started_us: int) -> CallRow:
    failed = CHANCE.random() < 0.2
    told: dict[str, Any] = {
        "id": f"req_{number:06d}",
        "workspace_id": CHANCE.choice(["wrkspc_1", "wrkspc_2", None]),
        "key_id": f"apikey_{CHANCE.randrange(3)}",
        "session_id": CHANCE.choice([None, "sesn_1", "sesn_2"]),
        "user_id": CHANCE.choice([None, "ann", "bob"]),
        "task_type": CHANCE.choice([None, "summarise"]),
        "route": "messages",
        "model_asked": CHANCE.choice(MODELS),
        "streamed": False,
        "attempts": 1,
        "latency_us": CHANCE.randrange(1, 10**8),
        "started_us": started_us,
        **(FAILED if failed else answered()),
    }
    return CallRow._make(told.get(name) for name in CallRow._fields)


FAILED = {"status": 529, "error_type": "overloaded_error", "usage_known": "none"}


def answered() -> dict[str, Any]:
    tokens = ("input_tokens", "output_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "cache_read_tokens")
    return {
        **{name: CHANCE.randrange(9) for name in tokens},
        "web_searches": 0,
        "model_answered": CHANCE.choice(MODELS),
        "upstream": "claude",
        "status": CHANCE.choice([200, 200, 200, 429]),
        "usage_known": "exact",
        "cost_nanodollars": CHANCE.choice([None, CHANCE.randrange(10**12)]),
    }


async def put(store: Store, first: int, times: list[int]) -> None:
    for number, at in enumerate(times, first):
        add_call(store, a_call(number, at))
    await store.flush()


def _sorted(rows: list[Any]) -> list[Any]:
    return sorted(rows, key=repr)


async def told(store: Store, span: Span) -> dict[str, Any]:
    """All reports of that span, and the same read from the rows alone."""
    found: dict[str, Any] = {}
    async with store.read() as conn:
        for name in (*DIMENSIONS, "workspace", "settlement"):
            if name != "outcome":
                found[name] = _sorted(await report(conn, span, [name]))
        found["two"] = _sorted(await report(conn, span, ["workspace", "user"]))
        found["own"] = _sorted(await report(conn, span, ["key"], only={"workspace": ["wrkspc_2"]}))
        found["nothing"] = await report(conn, span, [])
        if span.from_us is not None and span.to_us is not None and span.width_us is not None:
            for whose in (None, "wrkspc_1"):
                groups = await traffic.groups(conn, whose, span.from_us, span.to_us, span.width_us)
                found[f"traffic of {whose}"] = _sorted(groups)
    return found


def spans(now_us: int) -> list[Span]:
    today = now_us // DAY_US * DAY_US
    return [
        Span(),
        Span(width_us=DAY_US),
        Span(now_us - 5 * DAY_US + 123, now_us - HOUR_US // 3),
        Span(today - 6 * DAY_US, today + DAY_US, DAY_US),
        Span(today - 2 * DAY_US + 5 * HOUR_US, today + DAY_US, HOUR_US),
        Span(now_us + DAY_US, None),
    ]


async def test_sums_say_what_the_rows_say_before_and_after_and_when_rows_come_late(store: Store) -> None:
    clock = HandClock()
    now_us = clock.now_us()
    await put(
        store, 0, [now_us - CHANCE.randrange(30 * HOUR_US) - days * DAY_US for _ in range(150) for days in (0, 10)]
    )
    before = [await told(store, span) for span in spans(now_us)]
    summing = CallSumming(store, clock)
    await summing.tidy()
    async with store.read() as conn:
        assert (await stretches(conn, None, None))[1].width_us == DAY_US
    assert [await told(store, span) for span in spans(now_us)] == before

    await put(store, 1000, [now_us - CHANCE.randrange(3 * HOUR_US, DAY_US) for _ in range(40)])
    await summing.tidy()
    async with store.read() as conn:
        summed = await report(conn, Span(), ["model"])
        rows = await report(conn, Span(), ["model", "settlement"])
    assert sum(row["calls"] for row in summed) == sum(row["calls"] for row in rows)
    late = [await told(store, span) for span in spans(now_us)]
    async with store.read() as conn:
        for span, found in zip(spans(now_us), late, strict=True):
            keys = ["user", "key", "model"]
            by_rows = await report(conn, Span(span.from_us, span.to_us), keys)
            for name in ("calls", "cost_nanodollars", "latency_us", "failed_calls"):
                assert sum(row[name] for row in found["user"]) == sum(row[name] for row in by_rows)


async def test_hours_are_forgotten_when_their_days_are_summed(store: Store) -> None:
    clock = HandClock()
    await put(store, 0, [clock.now_us() - day * DAY_US - HOUR_US * (day % 3 + 3) for day in range(14)])
    summing = CallSumming(store, clock)
    await summing.tidy()
    before = await told(store, Span())
    await clock.advance(3 * 86_400)
    await summing.tidy()
    async with store.read() as conn:
        hours = select(call_sums.c.from_us).where(call_sums.c.width_us == HOUR_US)
        marks = select(call_sums_made.c.from_us).where(call_sums_made.c.width_us == HOUR_US)
        oldest = clock.now_us() - 10 * DAY_US
        for query in (hours, marks):
            assert min((await conn.execute(query)).scalars()) > oldest
    assert await told(store, Span()) == before


async def test_a_user_who_is_forgotten_is_in_no_sum(store: Store) -> None:
    clock = HandClock()
    await put(store, 0, [clock.now_us() - CHANCE.randrange(30) * HOUR_US for _ in range(100)])
    await CallSumming(store, clock).tidy()
    async with store.read() as conn:
        before = await report(conn, Span(), ["user"], only={"workspace": ["wrkspc_1"]})
    await RecordingRows(store).forget_user("wrkspc_1", "ann")
    async with store.read() as conn:
        after = await report(conn, Span(), ["user"], only={"workspace": ["wrkspc_1"]})
        everywhere = select(call_sums.c.workspace_id).where(call_sums.c.value == "ann").distinct()
        assert set((await conn.execute(everywhere)).scalars()) == {"wrkspc_2"}
    assert {row["user"] for row in after} == {None, "bob"}
    for name in ("calls", "cost_nanodollars"):
        assert sum(row[name] for row in after) == sum(row[name] for row in before)


def test_a_span_is_cut_into_sums_and_rows_without_gap_or_overlap() -> None:
    from freehold.store.call_sums import _joined

    made = [(0, 4), (4, 4), (4, 1), (5, 1), (8, 1), (9, 1), (12, 1)]
    assert list(_joined(None, None, made)) == [
        Stretch(None, 0, 0), Stretch(0, 8, 4), Stretch(8, 10, 1), Stretch(10, 12, 0), Stretch(12, 13, 1),
        Stretch(13, None, 0),
    ]  # fmt: skip
    assert list(_joined(1, 20, [])) == [Stretch(1, 20, 0)]
    assert list(_joined(8, 10, [(8, 1), (9, 1)])) == [Stretch(8, 10, 1)]
