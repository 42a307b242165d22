"""Who waits for what, in one process and across two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from freehold.clock import SystemClock
from freehold.store.engine import Store
from freehold.store.wakes import Wakes
from tests.store.seeds import add_session

_KILL_LISTENERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'freehold listener' AND datname = current_database()
"""
LONG_S = 120.0
"""Never waited for: a wake ends it, or the test has failed."""


@pytest.fixture
async def neighbour(database_url: str, store: Store) -> AsyncIterator[Store]:
    """Another store on the same database: to the database, another process."""
    opened = await Store.open(database_url, clock=SystemClock())
    yield opened
    await opened.close()


async def nothing(_conn: object) -> None:
    """A write of nothing."""


async def test_a_signal_wakes_whoever_waits_for_its_key_and_nobody_else() -> None:
    wakes = Wakes()
    a = asyncio.create_task(wakes.changed("a", wakes.version("a"), LONG_S))
    b = asyncio.create_task(wakes.changed("b", wakes.version("b"), 0.05))
    await asyncio.sleep(0)
    before = wakes.version("b")
    wakes.signal(["a"])
    assert await a == wakes.version("a")
    assert await b == before


async def test_a_signal_between_looking_and_waiting_is_not_missed() -> None:
    wakes = Wakes()
    seen = wakes.version("a")
    wakes.signal(["a"])
    assert await wakes.changed("a", seen, LONG_S) != seen


async def test_many_who_wait_for_one_key_all_wake() -> None:
    wakes = Wakes()
    tasks = [asyncio.create_task(wakes.changed("a", wakes.version("a"), LONG_S)) for _ in range(20)]
    await asyncio.sleep(0)
    wakes.signal(["a"])
    assert len(set(await asyncio.gather(*tasks))) == 1


async def test_nothing_is_kept_of_those_who_have_gone() -> None:
    wakes = Wakes(remembered=100)
    gave_up = [asyncio.create_task(wakes.changed(f"key{n}", wakes.version(f"key{n}"), LONG_S)) for n in range(50)]
    await asyncio.sleep(0)
    assert wakes.waiting == 50
    for task in gave_up:
        task.cancel()
    await asyncio.gather(*gave_up, return_exceptions=True)
    assert await wakes.changed("late", wakes.version("late"), 0.001) == wakes.version("late")
    assert wakes.waiting == 0
    assert not wakes.watched.is_set()
    wakes.signal(f"key{n}" for n in range(10_000))
    assert len(wakes._last) == 100


async def test_only_an_eager_wait_keeps_the_watcher_busy() -> None:
    wakes = Wakes()
    lazy = asyncio.create_task(wakes.changed("a", wakes.version("a"), LONG_S, lazy=True))
    await asyncio.sleep(0)
    assert not wakes.watched.is_set()
    eager = asyncio.create_task(wakes.changed("a", wakes.version("a"), LONG_S))
    await asyncio.sleep(0)
    assert wakes.watched.is_set()
    wakes.signal_all()
    await asyncio.gather(lazy, eager)
    assert not wakes.watched.is_set()


@given(st.lists(st.integers(0, 9) | st.none(), max_size=200), st.integers(1, 5))
def test_a_version_read_before_a_signal_of_its_key_is_never_the_version_after(
    signals: list[int | None], kept: int
) -> None:
    wakes = Wakes(remembered=kept)
    for signal in signals:
        before = {key: wakes.version(str(key)) for key in range(10)}
        if signal is None:
            wakes.signal_all()
            assert all(wakes.version(str(key)) != before[key] for key in range(10))
        else:
            wakes.signal([str(signal)])
            assert wakes.version(str(signal)) != before[signal]


async def test_a_commit_wakes_its_keys_in_the_process_that_wrote(store: Store) -> None:
    seen = store.wakes.version("sesn_1")
    waiting = asyncio.create_task(store.wakes.changed("sesn_1", seen, LONG_S, lazy=True))
    await store.write(nothing, wake=["sesn_1"])
    assert await waiting != seen


async def test_a_write_that_failed_wakes_nobody(store: Store) -> None:
    async def fails(_conn: object) -> None:
        raise KeyError("refused")

    seen = store.wakes.version("sesn_1")
    with pytest.raises(KeyError):
        await store.write(fails, wake=["sesn_1"])
    assert store.wakes.version("sesn_1") == seen


async def test_a_commit_of_another_process_wakes_within_a_moment(store: Store, neighbour: Store) -> None:
    await add_session(neighbour)
    for _ in range(3):
        seen = store.wakes.version("sesn_1")
        waiting = asyncio.create_task(store.wakes.changed("sesn_1", seen, LONG_S))
        await asyncio.sleep(0)
        await add_session(neighbour, f"sesn_{seen + 1_000}")
        async with asyncio.timeout(60):
            await neighbour.write(nothing, wake=["sesn_1"])
            assert await waiting != seen


async def test_a_commit_of_another_process_between_looking_and_waiting_is_not_missed(
    store: Store, neighbour: Store
) -> None:
    await add_session(store)
    seen = store.wakes.version("sesn_1")
    first = await store.wakes.changed("sesn_1", seen, 1.0)
    seen = store.wakes.version("sesn_1") if first == seen else first
    await add_session(neighbour, "sesn_2")
    await neighbour.write(nothing, wake=["sesn_1"])
    async with asyncio.timeout(60):
        assert await store.wakes.changed("sesn_1", seen, LONG_S) != seen


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_more_keys_than_one_notice_holds_all_arrive(store: Store, neighbour: Store) -> None:
    keys = [f"sesn_{n:030}" for n in range(1_000)]
    tasks = [asyncio.create_task(store.wakes.changed(key, store.wakes.version(key), LONG_S)) for key in keys]
    await asyncio.sleep(0)
    await store.wakes.changed("until LISTEN stands", store.wakes.version("until LISTEN stands"), 0.5)
    await neighbour.write(nothing, wake=keys)
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_a_listener_whose_connection_broke_listens_again(store: Store, neighbour: Store) -> None:
    await store.wakes.changed("until LISTEN stands", store.wakes.version("until LISTEN stands"), 0.5)
    async with neighbour.read() as conn:
        await conn.execute(text(_KILL_LISTENERS))
    for _ in range(20):
        seen = store.wakes.version("sesn_1")
        waiting = asyncio.create_task(store.wakes.changed("sesn_1", seen, 0.5))
        await asyncio.sleep(0)
        await neighbour.write(nothing, wake=["sesn_1"])
        if await waiting != seen:
            return
    pytest.fail("it never heard again")
