"""One transaction of many operations, each of which succeeds or fails for itself."""

from __future__ import annotations

import asyncio
import itertools
import random
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update
from sqlalchemy.exc import DBAPIError

from freehold.clock import SystemClock
from freehold.errors import Unavailable
from freehold.store import session_log as log
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.tables import workspaces
from tests.databases import Postgres
from tests.store.seeds import NOW_US, add_session, message, seqs

KINDS = ("writes", "raises", "raises late", "breaks a rule", "only looks")
FRESH = itertools.count()


class Refused(Exception):
    """An operation's own error."""


class Answered(Exception):
    """What a driver raises for an error of PostgreSQL's."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def answered(sqlstate: str) -> DBAPIError:
    return DBAPIError("SELECT 1", None, Answered(sqlstate))


DEADLOCK, SHUTDOWN = "40P01", "57P01"


async def operation(conn: Connection, kind: str, name: str) -> str:
    if kind == "raises":
        raise Refused(name)
    if kind == "only looks":
        await conn.execute(select(workspaces.c.id).limit(1))
        return name
    row = {"id": name, "name": None if kind == "breaks a rule" else name, "created_us": 1}
    await conn.execute(insert(workspaces), row)
    if kind == "raises late":
        raise Refused(name)
    return name


@pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
async def test_in_any_mix_what_succeeds_is_written_and_what_fails_is_not(store: Store) -> None:
    loop = asyncio.get_running_loop()

    async def run(kinds: list[str]) -> None:
        names = [f"w{next(FRESH)}" for _ in kinds]
        writes = (
            store.write(partial(operation, kind=kind, name=name)) for kind, name in zip(kinds, names, strict=True)
        )
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        async with store.read() as conn:
            present = set((await conn.execute(select(workspaces.c.id))).scalars().all())
        for kind, name, outcome in zip(kinds, names, outcomes, strict=True):
            assert (outcome == name) is (kind in ("writes", "only looks"))
            assert (name in present) is (kind == "writes")
            assert isinstance(outcome, Refused) is kind.startswith("raises")

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=8))
    def holds(kinds: list[str]) -> None:
        asyncio.run_coroutine_threadsafe(run(kinds), loop).result(30)

    await asyncio.to_thread(holds)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_groups_of_two_processes_lock_in_one_order(database_url: str, postgres: Postgres) -> None:
    places = [await Store.open(database_url, clock=SystemClock()) for _ in range(2)]
    sessions = [await add_session(places[0], f"sesn_{n}") for n in range(6)]

    async def append(place: Store, session_id: str, number: int) -> None:
        event = message(f"sevt_{number}")
        await place.write(
            partial(log.append, session_id=session_id, events=[event], now_us=NOW_US), wake=["sessions", session_id]
        )

    work = [(place, session_id) for place in places for session_id in sessions * 20]
    random.Random(7).shuffle(work)
    await asyncio.gather(*(append(place, session_id, n) for n, (place, session_id) in enumerate(work)))
    for session_id in sessions:
        assert await seqs(places[0], session_id) == list(range(1, 41))
    await asyncio.gather(*(place.close() for place in places))
    assert await postgres.deadlocks(database_url) == 0


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_what_succeeds_after_others_were_in_the_way_twice_is_told_so_and_wakes_who_waits(store: Store) -> None:
    runs = itertools.count()

    async def contended(conn: Connection) -> str:
        if next(runs) < 3:  # in its group, and twice alone
            raise answered(DEADLOCK)
        return await operation(conn, "writes", "there")

    before = store.wakes.version("key")
    assert await store.write(contended, wake=["key"]) == "there"
    assert store.wakes.version("key") != before
    with pytest.raises(Unavailable, match="hold the same rows"):
        await store.write(partial(_raises, error=answered(DEADLOCK)))


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_what_was_committed_by_itself_is_not_told_of_a_database_that_went_away_behind_it(store: Store) -> None:
    runs = itertools.count()

    async def contended_once(conn: Connection) -> str:
        if next(runs) == 0:
            raise answered(DEADLOCK)
        return await operation(conn, "writes", "first")

    second = partial(_raises, error=answered(SHUTDOWN))
    first, other = await asyncio.gather(store.write(contended_once), store.write(second), return_exceptions=True)
    assert first == "first"
    assert isinstance(other, Unavailable)
    async with store.read() as conn:
        assert (await conn.execute(select(workspaces.c.id))).scalars().all() == ["first"]


async def _raises(_: Connection, error: Exception) -> None:
    raise error


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_what_an_operation_read_is_still_so_when_it_writes(store: Store, database_url: str) -> None:
    async def count_up(conn: Connection) -> None:
        now = (await conn.execute(select(workspaces.c.created_us))).scalar_one()
        await conn.execute(update(workspaces).values(created_us=now + 1))

    neighbour = await Store.open(database_url, clock=SystemClock())
    await store.write(partial(operation, kind="writes", name="counter"))

    async def many(place: Store) -> None:
        for _ in range(50):
            await place.write(count_up)

    await asyncio.gather(many(store), many(neighbour))
    async with store.read() as conn:
        assert (await conn.execute(select(workspaces.c.created_us))).scalar_one() == 101
    await neighbour.close()
