"""Leases and fences: time says when to try, the epoch says who may write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlalchemy import update

from freehold.clock import SystemClock
from freehold.store import session_log as log
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.session_log import Fenced, Lease, Move, Plan
from freehold.store.tables import sessions
from tests.store.seeds import NOW_US, add_session, message, seqs

SID = "sesn_1"
EXPIRED_S = -1.0
"""A lease that has run out when it is given: no test waits for time to pass."""


@pytest.fixture
async def neighbour(database_url: str, store: Store) -> AsyncIterator[Store]:
    """Another store on the same database: to the database, another process."""
    opened = await Store.open(database_url, clock=SystemClock())
    yield opened
    await opened.close()


async def acquire(store: Store, owner: str, session_id: str | None = SID, lease_s: float = 30.0) -> Lease | None:
    taking = partial(log.acquire, owner=owner, now_us=NOW_US, session_id=session_id, lease_s=lease_s)
    return await store.write(taking)


async def set_row(store: Store, **values: object) -> None:
    async def op(conn: Connection) -> None:
        await conn.execute(update(sessions).where(sessions.c.id == SID).values(**values))

    await store.write(op)


async def lease_until(store: Store) -> int:
    async def op(conn: Connection) -> int:
        return int((await conn.execute(sessions.select().where(sessions.c.id == SID))).one().lease_until_us)

    return await store.write(op)


async def test_a_session_has_one_owner_until_the_lease_runs_out(store: Store) -> None:
    await add_session(store)
    first = await acquire(store, "server_1", lease_s=30)
    assert first == Lease(SID, "wrkspc_1", "server_1", 1, "running", 0)
    assert await acquire(store, "server_2") is None
    await set_row(store, lease_until_us=1)
    second = await acquire(store, "server_2")
    assert second is not None
    assert second.epoch == 2


async def test_the_one_who_was_taken_over_writes_nothing_more(store: Store) -> None:
    await add_session(store)
    old = await acquire(store, "server_1", lease_s=EXPIRED_S)
    new = await acquire(store, "server_2")
    assert old is not None
    assert new is not None
    plan = partial(log.append, session_id=SID, now_us=NOW_US, epoch=new.epoch, tool_calls=[Plan("sevt_call", "bash")])
    await store.write(partial(plan, events=()))
    act = partial(log.append, session_id=SID, events=(), now_us=NOW_US, epoch=old.epoch)
    zombie = (
        partial(act, events=[message("sevt_z")]),
        partial(act, tool_calls=[Move("sevt_call", "started")]),
        partial(act, tool_calls=[Move("sevt_call", "denied")]),
        partial(log.take_waiting, session_id=SID, epoch=old.epoch),
        partial(log.lock, session_id=SID, epoch=old.epoch),
    )
    for attempt in zombie:
        with pytest.raises(Fenced) as fenced:
            await store.write(attempt)
        assert (fenced.value.session_id, fenced.value.epoch) == (SID, old.epoch)
    assert await store.write(partial(log.renew, held={SID: old.epoch}, now_us=NOW_US)) == {SID}
    assert await store.write(partial(log.release, session_id=SID, epoch=old.epoch)) is False
    assert await seqs(store) == []
    async with store.read() as conn:
        assert [(call.state, call.attempt) for call in await log.open_calls(conn, SID)] == [("planned", 0)]


async def test_of_many_who_try_at_once_one_gets_it(store: Store, neighbour: Store) -> None:
    await add_session(store)
    tries = [acquire(place, f"server_{n}") for n in range(10) for place in (store, neighbour)]
    won = [lease for lease in await asyncio.gather(*tries) if lease]
    assert len(won) == 1


async def test_two_processes_share_the_work_and_take_nothing_twice(store: Store, neighbour: Store) -> None:
    for n in range(30):
        await add_session(store, f"sesn_{n:02}")

    async def take_all(place: Store, owner: str) -> list[str]:
        taken = []
        while lease := await acquire(place, owner, session_id=None):
            taken.append(lease.session_id)
        return taken

    parts = await asyncio.gather(take_all(store, "server_1"), take_all(neighbour, "server_2"))
    assert sorted(parts[0] + parts[1]) == [f"sesn_{n:02}" for n in range(30)]


async def test_every_fenced_write_renews_the_lease(store: Store) -> None:
    await add_session(store)
    lease = await acquire(store, "server_1", lease_s=1)
    assert lease is not None
    before = await lease_until(store)
    await store.write(partial(log.append, session_id=SID, events=(), now_us=NOW_US, epoch=lease.epoch, lease_s=100))
    after = await lease_until(store)
    assert after > before + 90_000_000
    assert await store.write(partial(log.renew, held={SID: lease.epoch}, now_us=NOW_US, lease_s=500)) == frozenset()
    assert await lease_until(store) > after + 300_000_000


async def test_the_end_of_a_turn_gives_the_lease_back_in_the_same_commit(store: Store) -> None:
    await add_session(store)
    lease = await acquire(store, "server_1")
    assert lease is not None
    end = partial(log.append, session_id=SID, events=[message("sevt_idle")], now_us=NOW_US, epoch=lease.epoch)
    await store.write(partial(end, values={"status": "idle"}, release=True))
    await store.write(partial(log.renew, held={SID: lease.epoch}, now_us=NOW_US))  # too late: it stays free
    assert await acquire(store, "server_2") is None  # idle: there is nothing to do
    await store.write(partial(log.append, session_id=SID, events=(), now_us=NOW_US, values={"status": "running"}))
    again = await acquire(store, "server_2")
    assert again is not None
    assert again.epoch == lease.epoch + 1


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"status": "running"}, True),
        ({"status": "rescheduling", "wake_at_us": NOW_US}, True),
        ({"status": "rescheduling", "wake_at_us": NOW_US + 1}, False),
        ({"status": "idle"}, False),
        ({"status": "terminated"}, False),
    ],
)
async def test_a_sweep_finds_what_needs_an_owner_now(store: Store, values: dict[str, object], wanted: bool) -> None:
    await add_session(store)
    await set_row(store, **values)
    async with store.read() as conn:
        found = await log.runnable(conn, 10, now_us=NOW_US)
    assert found == ([SID] if wanted else [])
    assert (await acquire(store, "server_1", session_id=None) is not None) is wanted


async def test_a_sweep_passes_over_what_is_owned_and_gives_the_longest_waiting_first(store: Store) -> None:
    for n in range(4):
        await add_session(store, f"sesn_{n}")
    await acquire(store, "server_1", "sesn_2", lease_s=EXPIRED_S)
    await acquire(store, "server_1", "sesn_1")
    async with store.read() as conn:
        assert await log.runnable(conn, 10, now_us=NOW_US) == ["sesn_0", "sesn_3", "sesn_2"]
        assert await log.runnable(conn, 2, now_us=NOW_US) == ["sesn_0", "sesn_3"]


async def test_sessions_of_a_process_known_to_be_dead_are_free_at_once(store: Store) -> None:
    await add_session(store)
    await add_session(store, "sesn_2")
    await acquire(store, "server_dead")
    kept = await acquire(store, "server_alive", "sesn_2")
    assert kept is not None
    assert await store.write(partial(log.abandon, owners=["server_dead"])) == [SID]
    assert (await acquire(store, "server_new")) is not None
    assert await store.write(partial(log.renew, held={"sesn_2": kept.epoch}, now_us=NOW_US)) == frozenset()


async def test_many_leases_are_renewed_in_one_go_and_the_lost_ones_are_named(store: Store) -> None:
    held = {}
    for n in range(12):
        await add_session(store, f"sesn_{n}")
        lease = await acquire(store, "server_1", f"sesn_{n}", lease_s=EXPIRED_S)
        assert lease is not None
        held[lease.session_id] = lease.epoch
    await acquire(store, "server_2", "sesn_3")
    lost = await store.write(partial(log.renew, held={**held, "sesn_gone": 1}, now_us=NOW_US))
    assert lost == {"sesn_3", "sesn_gone"}


async def test_two_processes_that_write_the_same_sessions_in_opposite_order_both_succeed(
    store: Store, neighbour: Store
) -> None:
    for n in range(2):
        await add_session(store, f"sesn_{n}")

    async def both(place: Store, order: tuple[int, int], k: int) -> None:
        async def op(conn: Connection) -> None:
            for n in order:
                event = message(f"sevt_{k}_{order[0]}_{n}")
                await log.append(conn, f"sesn_{n}", [event], now_us=NOW_US)

        await place.write(op)

    for k in range(2):
        await asyncio.gather(both(store, (0, 1), k), both(neighbour, (1, 0), k))
    assert await seqs(store, "sesn_0") == await seqs(store, "sesn_1") == [1, 2, 3, 4]
