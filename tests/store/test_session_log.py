"""The session log: numbers without gaps, fences that hold, a queue that loses nothing, a journal against repeats."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Any

import pytest

from freehold.errors import InvalidRequest, NotFound
from freehold.store import session_log as log
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.session_log import Appended, Fenced, Move, NewEvent, Place, Plan, WrongState
from tests.store.seeds import NOW_US, add_session, message, seqs

SID = "sesn_1"


async def own(store: Store, owner: str = "server_1", lease_s: float = 30.0) -> int:
    """Acquire the session; gives the epoch."""
    lease = await store.write(partial(log.acquire, owner=owner, now_us=NOW_US, session_id=SID, lease_s=lease_s))
    assert lease is not None
    return lease.epoch


async def append(store: Store, *events: NewEvent, epoch: int | None = None, **more: Any) -> Appended:
    return await store.write(lambda conn: log.append(conn, SID, events, now_us=NOW_US, epoch=epoch, **more))


async def bodies(store: Store) -> list[str]:
    async with store.read() as conn:
        return [event.id for event in await log.after(conn, SID, 0)]


# --- append ------------------------------------------------------------------------------------------


async def test_events_get_the_next_numbers_and_read_back_as_written(store: Store) -> None:
    await add_session(store)
    first = await append(
        store, message("sevt_1"), NewEvent("sevt_2", "agent.message", '{"é":1}', '{"h":2}', NOW_US + 7)
    )
    second = await append(store, message("sevt_3"), values={"status": "idle", "usage": '{"n":1}'})
    assert (first.first_seq, first.last_seq) == (1, 2)
    assert (second.first_seq, second.last_seq, second.status) == (3, 3, "idle")
    async with store.read() as conn:
        events = await log.after(conn, SID, 1)
        found = await log.event(conn, SID, "sevt_2")
    assert [event.id for event in events] == ["sevt_2", "sevt_3"]
    assert found == events[0]
    assert (found.body, found.hidden, found.seq, found.processed_us) == ('{"é":1}', '{"h":2}', 2, NOW_US + 7)
    assert events[1].processed_us == NOW_US


async def test_numbers_have_no_gaps_whoever_appends_at_once(store: Store) -> None:
    await add_session(store)
    epoch = await own(store)

    async def client(n: int) -> None:
        for k in range(5):
            await append(store, *(message(f"sevt_{n}_{k}_{i}") for i in range(random.randint(1, 3))))

    async def owner() -> None:
        for k in range(20):
            await append(store, message(f"sevt_own_{k}"), epoch=epoch)

    async def refused() -> None:
        for k in range(10):
            with pytest.raises(Fenced):
                await append(store, message(f"sevt_no_{k}"), epoch=epoch + 1)

    await asyncio.gather(*(client(n) for n in range(8)), owner(), refused())
    numbers = await seqs(store)
    assert numbers == list(range(1, len(numbers) + 1))
    assert not [event for event in await bodies(store) if event.startswith("sevt_no_")]


async def test_an_event_that_is_there_already_is_not_written_twice(store: Store) -> None:
    await add_session(store)
    await append(store, message("sevt_1"))
    with pytest.raises(Exception, match=r"UNIQUE|unique"):
        await append(store, message("sevt_2"), message("sevt_1"))
    assert await bodies(store) == ["sevt_1"]
    assert (await append(store, message("sevt_3"))).last_seq == 2


async def test_a_session_that_is_not_there_is_not_found(store: Store) -> None:
    await add_session(store)
    with pytest.raises(NotFound, match="There is no session"):
        await store.write(partial(log.append, session_id="sesn_none", events=[message("sevt_1")], now_us=NOW_US))
    with pytest.raises(Fenced):
        await store.write(partial(log.append, session_id="sesn_none", events=(), now_us=NOW_US, epoch=1))
    assert await seqs(store) == []


async def test_what_the_log_sets_itself_cannot_be_set_from_outside(store: Store) -> None:
    await add_session(store)
    with pytest.raises(ValueError, match="epoch"):
        await append(store, values={"epoch": 7})


async def test_a_message_for_an_idle_session_starts_it_and_one_for_a_running_session_waits(store: Store) -> None:
    await add_session(store, status="idle")

    async def send(event: NewEvent, conn: Connection) -> str:
        if (await log.lock(conn, SID)).status != "idle":
            await log.queue(conn, SID, [event], now_us=NOW_US)
            return "waits"
        await log.append(conn, SID, [event], now_us=NOW_US, values={"status": "running"})
        return "began"

    outcomes = await asyncio.gather(*(store.write(partial(send, message(f"sevt_{n}"))) for n in range(10)))
    assert sorted(outcomes) == ["began"] + ["waits"] * 9
    assert await seqs(store) == [1]
    async with store.read() as conn:
        assert len(await log.waiting(conn, SID)) == 9


# --- the queue ---------------------------------------------------------------------------------------


async def test_waiting_events_move_into_the_log_in_their_order_under_their_ids(store: Store) -> None:
    await add_session(store)
    epoch = await own(store)
    await store.write(partial(log.queue, session_id=SID, events=[message("sevt_b"), message("sevt_a")], now_us=NOW_US))
    await store.write(partial(log.queue, session_id=SID, events=[message("sevt_c")], now_us=NOW_US - 5))

    async def turn(conn: Connection) -> Appended:
        taken = await log.take_waiting(conn, SID, epoch=epoch)
        assert all(event.seq is None and event.processed_us is None for event in taken)
        moved = [NewEvent(event.id, event.type, event.body) for event in taken]
        return await log.append(conn, SID, moved, now_us=NOW_US, epoch=epoch)

    assert (await store.write(turn)).last_seq == 3
    assert await bodies(store) == ["sevt_b", "sevt_a", "sevt_c"]
    async with store.read() as conn:
        assert await log.waiting(conn, SID) == []
        assert (await log.event(conn, SID, "sevt_a")) is not None


async def test_a_turn_that_fails_leaves_what_waits_waiting(store: Store) -> None:
    await add_session(store)
    epoch = await own(store)
    await store.write(partial(log.queue, session_id=SID, events=[message("sevt_1")], now_us=NOW_US))

    async def turn(conn: Connection) -> None:
        await log.take_waiting(conn, SID, epoch=epoch)
        raise KeyError("the turn failed")

    with pytest.raises(KeyError):
        await store.write(turn)
    with pytest.raises(Fenced):
        await store.write(partial(log.take_waiting, session_id=SID, epoch=epoch - 1))
    async with store.read() as conn:
        assert [event.id for event in await log.waiting(conn, SID)] == ["sevt_1"]


async def test_only_so_many_events_may_wait(store: Store) -> None:
    await add_session(store)
    many = [message(f"sevt_{n}") for n in range(log.WAITING_MOST)]
    await store.write(partial(log.queue, session_id=SID, events=many, now_us=NOW_US))
    with pytest.raises(InvalidRequest, match="1000 may"):
        await store.write(partial(log.queue, session_id=SID, events=[message("sevt_more")], now_us=NOW_US))


# --- pages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 10])
async def test_pages_hold_every_event_once_the_waiting_ones_at_the_new_end(
    store: Store, newest_first: bool, limit: int
) -> None:
    await add_session(store)
    await append(store, message("sevt_1"), NewEvent("sevt_2", "agent.message", "{}"), message("sevt_3"))
    await store.write(partial(log.queue, session_id=SID, events=[message("sevt_4"), message("sevt_5")], now_us=NOW_US))
    found: list[str] = []
    place: Place | None = None
    async with store.read() as conn:
        while page := await log.page(conn, SID, limit=limit, behind=place, newest_first=newest_first):
            assert len(page) <= limit
            found += [event.id for event in page]
            place = page[-1].place
    expected = [f"sevt_{n}" for n in range(1, 6)]
    assert found == (expected[::-1] if newest_first else expected)


async def test_pages_can_be_narrowed_by_type_and_by_time(store: Store) -> None:
    await add_session(store)
    events = [NewEvent(f"sevt_{n}", "a" if n % 2 else "b", "{}", None, NOW_US + n) for n in range(6)]
    await append(store, *events)
    await store.write(partial(log.queue, session_id=SID, events=[NewEvent("sevt_w", "a", "{}")], now_us=NOW_US))
    async with store.read() as conn:
        by_type = await log.page(conn, SID, limit=9, types=["a"])
        by_time = await log.page(conn, SID, limit=9, processed={"gt": NOW_US + 1, "lte": NOW_US + 4})
        by_edge = await log.page(conn, SID, limit=9, processed={"gte": NOW_US + 1, "lt": NOW_US + 4}, types=["b"])
    assert [event.id for event in by_type] == ["sevt_1", "sevt_3", "sevt_5", "sevt_w"]
    assert [event.id for event in by_time] == ["sevt_2", "sevt_3", "sevt_4"]
    assert [event.id for event in by_edge] == ["sevt_2"]


# --- the journal -------------------------------------------------------------------------------------

CALL = "sevt_call"


async def journal(store: Store) -> list[tuple[str, int]]:
    async with store.read() as conn:
        every = await log.tool_calls(conn, SID, ["planned", "started", "done", "unknown", "denied"])
    return [(call.state, call.attempt) for call in every]


async def test_a_call_is_planned_with_its_message_started_before_its_effect_and_done_with_its_result(
    store: Store,
) -> None:
    await add_session(store)
    epoch = await own(store)
    planned = await append(
        store, message(CALL), epoch=epoch, tool_calls=[Plan(CALL, "bash"), Plan("sevt_x", "read", "retry")]
    )
    assert [call.state for call in planned.calls] == ["planned", "planned"]
    started = (await append(store, epoch=epoch, tool_calls=[Move(CALL, "started")])).calls
    assert (started[0].attempt, started[0].started_us, started[0].name) == (1, NOW_US, "bash")
    async with store.read() as conn:
        assert [call.event_id for call in await log.open_calls(conn, SID)] == [CALL, "sevt_x"]
    await append(store, message("sevt_result"), epoch=epoch, tool_calls=[Move(CALL, "done")])
    async with store.read() as conn:
        assert [call.event_id for call in await log.open_calls(conn, SID)] == ["sevt_x"]


@pytest.mark.parametrize("policy", ["once", "retry", "client"])
@pytest.mark.parametrize(
    "path", ["", "started", "started started", "started done", "started unknown", "denied", "done"]
)
@pytest.mark.parametrize("move", ["started", "done", "unknown", "denied"])
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_the_journal_allows_what_its_table_says_and_nothing_else(
    store: Store, policy: log.Policy, path: str, move: str
) -> None:
    allowed = {
        ("planned", "started"): {"once", "retry"},
        ("started", "started"): {"retry"},
        ("started", "done"): {"once", "retry"},
        ("started", "unknown"): {"once", "retry"},
        ("planned", "done"): {"client"},
        ("planned", "denied"): {"once", "retry", "client"},
    }
    await add_session(store)
    epoch = await own(store)
    await append(store, epoch=epoch, tool_calls=[Plan(CALL, "bash", policy)])
    state, attempts = "planned", 0
    for number, step in enumerate([*path.split(), move]):
        legal = policy in allowed.get((state, step), set())
        try:
            await append(store, message(f"sevt_{number}"), epoch=epoch, tool_calls=[Move(CALL, step)])  # type: ignore[arg-type]
        except WrongState as refused:
            assert not legal
            assert (refused.event_id, refused.state) == (CALL, state)
        else:
            assert legal
            state, attempts = step, attempts + (step == "started")
        assert await journal(store) == [(state, attempts)]


async def test_a_move_that_is_refused_takes_its_result_with_it(store: Store) -> None:
    await add_session(store)
    epoch = await own(store)
    await append(store, epoch=epoch, tool_calls=[Plan(CALL, "bash")])
    with pytest.raises(WrongState, match="is planned and cannot become done"):
        await append(store, message("sevt_result"), epoch=epoch, tool_calls=[Move(CALL, "done")])
    with pytest.raises(WrongState, match="not in the journal"):
        await append(store, message("sevt_result"), epoch=epoch, tool_calls=[Move("sevt_nobody", "done")])
    assert await bodies(store) == []


async def test_of_two_answers_to_one_call_only_the_first_counts(store: Store) -> None:
    await add_session(store)
    epoch = await own(store)
    await append(store, epoch=epoch, tool_calls=[Plan(CALL, "ask_user", "client")])
    answers = [append(store, message(f"sevt_{n}"), tool_calls=[Move(CALL, "done")]) for n in range(5)]
    outcomes = await asyncio.gather(*answers, return_exceptions=True)
    assert sum(isinstance(outcome, Appended) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, WrongState) for outcome in outcomes) == 4
    assert await seqs(store) == [1]
