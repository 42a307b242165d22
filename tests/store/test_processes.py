"""Real processes on one database: they share it, and one that is killed loses nothing that it acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select

from freehold.store.engine import Store
from freehold.store.tables import events
from tests.store import appender
from tests.store.seeds import add_session

SID = "sesn_1"
Process = asyncio.subprocess.Process


@contextlib.asynccontextmanager
async def running(url: str, name: str, count: int, *more: str) -> AsyncIterator[Process]:
    command = (sys.executable, appender.__file__, url, name, SID, str(count), *more)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def lines(process: Process, most: int | None = None) -> list[str]:
    assert process.stdout is not None
    found: list[str] = []
    while (most is None or len(found) < most) and (line := await process.stdout.readline()):
        found.append(line.decode().strip())
    return found


async def logged(store: Store) -> list[tuple[int, str, int]]:
    async with store.read() as conn:
        found = select(events.c.seq, events.c.id, events.c.epoch).where(events.c.session_id == SID)
        return [(row.seq, row.id, row.epoch) for row in await conn.execute(found.order_by(events.c.seq))]


async def test_two_processes_and_this_one_append_to_one_session_without_a_gap(store: Store, database_url: str) -> None:
    await add_session(store)
    async with running(database_url, "a", 100) as a, running(database_url, "b", 100) as b:
        said = await asyncio.gather(lines(a), lines(b))
    log = await logged(store)
    assert [seq for seq, _, _ in log] == list(range(1, 201))
    assert sorted(event_id for _, event_id, _ in log) == sorted(said[0] + said[1])


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_process_that_is_killed_loses_nothing_that_it_acknowledged(
    store: Store, database_url: str, seed: int
) -> None:
    await add_session(store)
    async with running(database_url, "killed", 100_000) as killed, running(database_url, "other", 200) as other:
        acknowledged = await lines(killed, random.Random(seed).randint(20, 120))
        killed.kill()
        acknowledged += await lines(killed)
        said = await lines(other)
    log = await logged(store)
    assert [seq for seq, _, _ in log] == list(range(1, len(log) + 1))
    written = {event_id for _, event_id, _ in log}
    assert len(written) == len(log)
    assert set(acknowledged) <= written
    assert {event_id for event_id in written if event_id.startswith("other")} == set(said)
    assert len(said) == 200


async def test_an_owner_that_is_taken_over_is_fenced_and_the_log_shows_one_owner_at_a_time(
    store: Store, database_url: str
) -> None:
    await add_session(store)
    async with running(database_url, "old", 100_000, "own") as old:
        assert len(await lines(old, 20)) == 20
        async with running(database_url, "new", 50, "own") as new:
            rest, said = await asyncio.gather(lines(old), lines(new))
    assert rest[-1] == "fenced"
    assert len(said) == 50
    log = await logged(store)
    assert [seq for seq, _, _ in log] == list(range(1, len(log) + 1))
    epochs = [epoch for _, _, epoch in log]
    assert epochs == sorted(epochs)
    assert {event_id for _, event_id, epoch in log if epoch == 2} == set(said)
