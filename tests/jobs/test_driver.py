"""The driver: takes what needs an owner, keeps its leases, lets go in order, and survives work that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.clock import Clock, HandClock, SystemClock
from freehold.ids import new_id
from freehold.jobs.driver import RENEW_S, WAKE, Driver, DriverSettings
from freehold.jobs.owners import Owners
from freehold.store import session_log
from freehold.store.engine import Store
from freehold.store.session_log import Lease
from freehold.store.tables import agents, environments, sessions, workspaces


class Job:
    """Work that does what the test says, and notes what happens to it."""

    def __init__(self, lease: Lease, store: Store, fails: int) -> None:
        self.lease = lease
        self.store = store
        self.stopped = asyncio.Event()
        self.go_on = asyncio.Event()
        self.fails = fails
        self.given_up: list[int] = []

    async def run(self) -> bool:
        if self.fails:
            raise RuntimeError("a bug")
        waits = [asyncio.create_task(self.go_on.wait()), asyncio.create_task(self.stopped.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self.go_on.is_set():
            return False
        await self.rest()
        return True

    async def rest(self) -> None:
        async def op(connection: AsyncConnection) -> None:
            now_us = SystemClock().now_us()
            ends = {"status": "idle"}
            await session_log.append(
                connection, self.lease.session_id, (), now_us=now_us, epoch=self.lease.epoch, values=ends, release=True
            )

        await self.store.write(op)

    def stop(self) -> None:
        self.stopped.set()

    async def give_up(self, failures: int) -> bool:
        self.given_up.append(failures)
        if failures < 3:
            return False
        await self.rest()
        return True


class Stumbling:
    """A store that does what the test's does, but for so many writes, which fail as by a bug."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fails = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, op: Any, **more: Any) -> Any:
        if self.fails:
            self.fails -= 1
            raise RuntimeError("a bug")
        return await self._store.write(op, **more)


class Stage:
    """A driver on the test's store, and everything it has made."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        *,
        most: int = 100,
        drain_s: float = 5.0,
        fails: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self.store = store
        self.jobs: list[Job] = []
        self.owners = Owners(folder / "owners", new_id)
        settings = DriverSettings(max_running_sessions=most, drain_s=drain_s)

        def make(lease: Lease) -> Job:
            self.jobs.append(Job(lease, store, fails))
            return self.jobs[-1]

        self.driver = Driver(store, self.owners, make, clock=clock or SystemClock(), settings=settings, pause_s=0.0)

    async def add(self, count: int = 1) -> list[str]:
        """Running sessions that nobody owns."""
        ids = [new_id("sesn") for _ in range(count)]

        async def op(connection: AsyncConnection) -> None:
            if (await connection.execute(select(workspaces.c.id))).first() is None:
                await connection.execute(insert(workspaces).values(id="wrkspc_1", name="one", created_us=0))
                times = {"workspace_id": "wrkspc_1", "created_us": 0, "updated_us": 0}
                await connection.execute(insert(agents).values(id="agent_1", version=1, **times))
                await connection.execute(insert(environments).values(id="env_1", body="{}", **times))
            for session_id in ids:
                await connection.execute(
                    insert(sessions).values(
                        id=session_id,
                        workspace_id="wrkspc_1",
                        key_id="key",
                        agent_id="agent_1",
                        agent_version=1,
                        environment_id="env_1",
                        agent="{}",
                        environment_config="{}",
                        metadata="{}",
                        thread_id="sthr_1",
                        usage="{}",
                        status="running",
                        created_us=0,
                        updated_us=0,
                    )
                )

        await self.store.write(op, wake=[WAKE])
        return ids

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                await self.store.wakes.changed("never", self.store.wakes.version("never"), 0.02)

    async def owner(self, session_id: str) -> str | None:
        async with self.store.read() as connection:
            query = select(sessions.c.owner).where(sessions.c.id == session_id)
            found: str | None = (await connection.execute(query)).scalar_one()
        return found


@pytest.fixture
async def opens(store: Store, tmp_path: Path) -> AsyncIterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def open_one(*, on: Any = store, **options: Any) -> Stage:
        made.append(Stage(on, tmp_path, **options))
        made[-1].driver.start()
        return made[-1]

    yield open_one
    for stage in made:
        await stage.driver.stop()
        stage.owners.close()


async def test_a_session_that_needs_an_owner_gets_one_once(opens: Callable[..., Stage]) -> None:
    first, second = opens(), opens()
    ids = await first.add(10)
    await first.until(lambda: len(first.jobs) + len(second.jobs) == 10)
    taken = [job.lease.session_id for job in [*first.jobs, *second.jobs]]
    assert sorted(taken) == sorted(ids)
    assert await first.owner(first.jobs[0].lease.session_id if first.jobs else ids[0]) is not None


async def test_no_more_are_taken_than_there_is_room_for(opens: Callable[..., Stage]) -> None:
    stage = opens(most=2)
    await stage.add(5)
    await stage.until(lambda: stage.driver.running == 2)
    stage.jobs[0].go_on.set()
    await stage.until(lambda: len(stage.jobs) == 3)
    assert stage.driver.running == 2


async def test_stopping_gives_leases_back_so_that_another_goes_on_at_once(opens: Callable[..., Stage]) -> None:
    first = opens()
    (session_id,) = await first.add()
    await first.until(lambda: len(first.jobs) == 1)
    await first.driver.stop()
    assert first.jobs[0].stopped.is_set()
    assert await first.owner(session_id) is None
    second = opens()
    await second.until(lambda: len(second.jobs) == 1)
    assert second.jobs[0].lease.epoch == first.jobs[0].lease.epoch + 1


async def test_work_that_does_not_stop_is_cut_off_and_its_lease_given_back(opens: Callable[..., Stage]) -> None:
    stage = opens(drain_s=0.05)
    (session_id,) = await stage.add()
    await stage.until(lambda: len(stage.jobs) == 1)
    stage.jobs[0].stop = lambda: None  # type: ignore[method-assign]
    await stage.driver.stop()
    assert await stage.owner(session_id) is None


async def test_work_that_fails_is_tried_again_and_then_given_up(opens: Callable[..., Stage]) -> None:
    stage = opens(fails=1)
    await stage.add()
    await stage.until(lambda: sum(len(job.given_up) for job in stage.jobs) == 3)
    assert [job.given_up for job in stage.jobs] == [[1], [2], [3]]
    await stage.until(lambda: stage.driver.running == 0)


async def test_leases_are_renewed_though_a_renewal_before_has_failed(opens: Callable[..., Stage], store: Store) -> None:
    clock, stumbling = HandClock(), Stumbling(store)
    stage = opens(on=stumbling, clock=clock)
    (session_id,) = await stage.add()
    await stage.until(lambda: len(stage.jobs) == 1)

    async def until_us() -> int:
        async with store.read() as connection:
            query = select(sessions.c.lease_until_us).where(sessions.c.id == session_id)
            return int((await connection.execute(query)).scalar_one())

    stumbling.fails = 1
    await clock.advance(RENEW_S)
    await stage.until(lambda: stumbling.fails == 0)
    before_us = await until_us()
    await clock.advance(RENEW_S)
    async with asyncio.timeout(10):
        while await until_us() == before_us:  # noqa: ASYNC110 (the renewal is a task of the driver's)
            await asyncio.sleep(0.01)


async def test_the_sessions_of_a_dead_neighbour_are_taken_over_at_once(
    opens: Callable[..., Stage], tmp_path: Path
) -> None:
    stage = opens()
    dead = Owners(tmp_path / "owners", new_id)
    name = dead.name
    dead.close()
    (tmp_path / "owners" / name).touch()  # as a process leaves it that was killed: the file, and no lock on it

    async def take(connection: AsyncConnection) -> None:
        far = SystemClock().now_us() + 3_600_000_000
        await connection.execute(update(sessions).values(owner=name, epoch=7, lease_until_us=far))

    await stage.driver.stop()
    await stage.add()
    await stage.store.write(take)
    stage.driver.start()
    await stage.until(lambda: len(stage.jobs) == 1)
    assert stage.jobs[0].lease.epoch == 8
    assert not (tmp_path / "owners" / name).exists()
