"""The door to the database, on both kinds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from functools import partial
from glob import glob

import asyncpg
import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from freehold.clock import SystemClock
from freehold.errors import InvalidRequest, Misconfigured, NotFound, Unavailable
from freehold.store import postgres as postgres_store
from freehold.store import sqlite as sqlite_store
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.groups import Groups
from freehold.store.tables import calls, workspaces
from tests.databases import Postgres
from tests.store.seeds import eventually


async def add(conn: Connection, name: str) -> str:
    await conn.execute(insert(workspaces), {"id": f"wrkspc_{name}", "name": name, "created_us": 1})
    return name


async def names(store: Store) -> set[str]:
    async with store.read() as conn:
        return set((await conn.execute(select(workspaces.c.name))).scalars().all())


def call_row(number: int) -> tuple[object, ...]:
    known: dict[str, object] = {"id": f"req_{number}", "route": "messages", "streamed": True, "status": 200}
    known |= {"attempts": 1, "usage_known": "none", "latency_us": 1, "started_us": number}
    return tuple(known.get(column.name) for column in calls.columns)


async def call_ids(store: Store) -> set[str]:
    async with store.read() as conn:
        return set((await conn.execute(select(calls.c.id))).scalars().all())


async def test_what_was_written_can_be_read(store: Store) -> None:
    assert await store.write(lambda conn: add(conn, "a")) == "a"
    assert await names(store) == {"a"}


async def test_writes_that_come_together_share_a_commit(store: Store) -> None:
    await store.write(lambda conn: add(conn, "first"))
    before = store.commits
    await asyncio.gather(*(store.write(partial(add, name=str(n))) for n in range(50)))
    assert store.commits == before + 1
    assert len(await names(store)) == 51


async def test_a_write_that_fails_fails_alone_and_leaves_nothing(store: Store) -> None:
    async def refused(conn: Connection) -> None:
        await add(conn, "refused")
        raise NotFound("no such thing")

    async def doubled(conn: Connection) -> None:
        await add(conn, "kept")
        await add(conn, "kept")

    good = [store.write(partial(add, name=f"good{n}")) for n in range(3)]
    results = await asyncio.gather(
        good[0], store.write(refused), good[1], store.write(doubled), good[2], return_exceptions=True
    )
    assert isinstance(results[1], NotFound)
    assert isinstance(results[3], IntegrityError)
    assert await names(store) == {"good0", "good1", "good2"}


async def test_a_lone_write_that_fails_leaves_nothing_and_the_next_one_works(store: Store) -> None:
    async def refused(conn: Connection) -> None:
        await add(conn, "refused")
        raise NotFound("no such thing")

    with pytest.raises(NotFound):
        await store.write(refused)
    await store.write(lambda conn: add(conn, "next"))
    assert await names(store) == {"next"}


async def test_the_write_of_a_cancelled_caller_is_applied_whole(store: Store) -> None:
    started = threading.Event()

    async def slow(conn: Connection) -> None:
        started.set()
        for n in range(20):
            await add(conn, f"part {n}")

    caller = asyncio.create_task(store.write(slow))
    await eventually(started.is_set)
    waiting = asyncio.create_task(store.write(lambda conn: add(conn, "still waiting")))
    await asyncio.sleep(0)
    caller.cancel()
    waiting.cancel()
    await asyncio.gather(caller, waiting, return_exceptions=True)
    await store.flush()
    assert await names(store) == {f"part {n}" for n in range(20)} | {"still waiting"}


async def test_an_operation_that_writes_through_the_store_is_told_why_it_cannot(store: Store) -> None:
    async def nested(_conn: Connection) -> None:
        await store.write(lambda conn: add(conn, "inner"))

    with pytest.raises(RuntimeError, match="would wait for itself"):
        await store.write(nested)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_an_operation_that_awaits_anything_else_is_told_so_and_fails_alone(store: Store) -> None:
    async def strays(conn: Connection) -> None:
        await add(conn, "strayed")
        await asyncio.sleep(0)

    async def strays_stubbornly(conn: Connection) -> None:
        with contextlib.suppress(RuntimeError):
            await asyncio.sleep(0)
        await add(conn, "came back")

    async with asyncio.timeout(60):
        writes = (strays, strays_stubbornly, partial(add, name="beside"))
        results = await asyncio.gather(*(store.write(op) for op in writes), return_exceptions=True)
    assert isinstance(results[0], RuntimeError)
    assert "not its connection" in str(results[0])
    assert await names(store) == {"came back", "beside"}


async def test_an_operation_that_commits_by_itself_is_an_error(store: Store) -> None:
    async def commits(conn: Connection) -> None:
        await add(conn, "early")
        await conn.commit()

    with pytest.raises(RuntimeError, match="must not commit"):
        await store.write(commits)
    await store.write(lambda conn: add(conn, "next"))
    assert "next" in await names(store)


async def test_one_block_of_reading_sees_one_moment(store: Store) -> None:
    await store.write(lambda conn: add(conn, "before"))
    async with store.read() as conn:
        first = (await conn.execute(select(workspaces.c.name))).scalars().all()
        await store.write(lambda conn: add(conn, "meanwhile"))
        second = (await conn.execute(select(workspaces.c.name))).scalars().all()
    assert first == second == ["before"]
    assert await names(store) == {"before", "meanwhile"}


async def test_a_reading_connection_cannot_write(store: Store) -> None:
    with pytest.raises(DBAPIError):
        async with store.read() as conn:
            await add(conn, "smuggled")
    assert await names(store) == set()


async def test_a_look_sees_one_moment_and_cannot_write(store: Store) -> None:
    seen = await asyncio.gather(*(store.look(_looked) for _ in range(8)), store.write(lambda conn: add(conn, "a")))
    assert all(found in (set(), {"a"}) for found in seen[:8])
    with pytest.raises(DBAPIError):
        await store.look(lambda conn: add(conn, "b"))
    assert await store.look(_looked) == {"a"}


async def _looked(conn: Connection) -> set[str]:
    first = set((await conn.execute(select(workspaces.c.name))).scalars().all())
    again = set((await conn.execute(select(workspaces.c.name))).scalars().all())
    assert first == again
    return first


async def test_a_look_that_fails_harms_no_other(store: Store) -> None:
    await store.write(lambda conn: add(conn, "a"))

    async def fails(conn: Connection) -> None:
        await conn.execute(select(workspaces.c.name))
        raise NotFound("nothing")

    failed, found = await asyncio.gather(store.look(fails), store.look(_looked), return_exceptions=True)
    assert isinstance(failed, NotFound) and found == {"a"}
    assert await store.look(_looked) == {"a"}


async def test_rows_that_nobody_waits_for_are_there_after_flush(store: Store) -> None:
    for number in range(7_000):
        store.add_row(calls, call_row(number))
    await store.flush()
    assert len(await call_ids(store)) == 7_000


async def test_rows_go_in_by_themselves(store: Store) -> None:
    store.add_row(calls, call_row(1))
    await eventually(lambda: store.commits > 0)
    assert await call_ids(store) == {"req_1"}


async def test_a_bad_row_harms_no_other_and_is_counted(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.add_row(calls, call_row(1))
    store.add_row(calls, ("too short",))
    store.add_row(calls, call_row(1))
    store.add_row(calls, call_row(2))
    assert await store.write(lambda conn: add(conn, "beside")) == "beside"
    await store.flush()
    assert await call_ids(store) == {"req_1", "req_2"}
    assert (store.rows_lost, store.rows_waiting) == (2, 0)
    assert "2 so far" in caplog.text


async def test_a_closed_store_refuses_writes_but_has_written_what_waited(database_url: str) -> None:
    store = await Store.open(database_url, clock=SystemClock())
    waiting = asyncio.create_task(store.write(lambda conn: add(conn, "waited")))
    store.add_row(calls, call_row(1))
    await asyncio.sleep(0)
    await store.close()
    assert await waiting == "waited"
    with pytest.raises(Unavailable, match="stopping"):
        await store.write(lambda conn: add(conn, "late"))
    again = await Store.open(database_url, clock=SystemClock())
    assert await names(again) == {"waited"}
    assert await call_ids(again) == {"req_1"}
    await again.close()


async def test_nobody_waits_for_a_writer_that_was_cancelled(store: Store) -> None:
    async def write_shielded(name: str) -> None:
        await asyncio.shield(asyncio.ensure_future(store.write(lambda conn: add(conn, name))))

    waiting = [asyncio.create_task(write_shielded(name)) for name in ("one", "two")]
    [writer] = [task for task in asyncio.all_tasks() if task.get_name() == "store writer"]
    writer.cancel()
    async with asyncio.timeout(60):
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 2
    with pytest.raises(Unavailable, match="stopping"):
        await store.write(lambda conn: add(conn, "late"))


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_full_disk_is_said_and_got_over(store: Store) -> None:
    async def fill(conn: Connection) -> None:
        pages = (await conn.execute(text("PRAGMA page_count"))).scalar_one()
        await conn.execute(text(f"PRAGMA max_page_count = {pages}"))
        for number in range(200):
            await add(conn, f"{number}" + "x" * 200)

    with pytest.raises(Unavailable, match=r"is full\. Nothing was written"):
        await store.write(fill)
    assert not store.healthy
    assert await names(store) == set()
    await eventually(lambda: store.healthy)
    await store.write(lambda conn: add(conn, "room again"))
    assert await names(store) == {"room again"}


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_the_file_is_its_owners_alone_and_every_commit_is_synced(store: Store, database_url: str) -> None:
    async def pragmas(conn: Connection) -> list[object]:
        asked = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [(await conn.execute(text(f"PRAGMA {name}"))).scalar_one() for name in asked]

    assert await store.write(pragmas) == ["wal", 2, 1, 5000]
    assert {os.stat(path).st_mode & 0o777 for path in glob(f"{database_url.removeprefix('sqlite:///')}*")} == {0o600}


async def test_a_bad_row_is_counted_once_however_often_its_group_is_tried(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[bool] = []
    commit = Groups._commit

    async def fails_first(self: Groups, connection: Connection) -> None:
        if not failed:
            failed.append(True)
            await connection.rollback()
            raise Unavailable("The disk is full.")
        await commit(self, connection)

    monkeypatch.setattr(Groups, "_commit", fails_first)
    store.add_row(calls, call_row(1))
    store.add_row(calls, ("too short",))
    await eventually(lambda: bool(failed) and store.healthy)
    await store.flush()
    assert await call_ids(store) == {"req_1"}
    assert store.rows_lost == 1


async def test_rows_of_a_group_that_cannot_be_written_are_counted_as_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("a defect")

    with monkeypatch.context() as broken:
        broken.setattr(Groups, "commit", fails)
        store.add_row(calls, call_row(1))
        store.add_row(calls, call_row(2))
        await eventually(lambda: store.rows_lost > 0)
    assert store.rows_lost == 2
    store.add_row(calls, call_row(3))
    await store.flush()
    assert await call_ids(store) == {"req_3"}


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_rows_wait_while_another_process_holds_their_table(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(postgres_store, "LOCK_TIMEOUT_MS", 50)
    store, other = await Store.open(database_url, clock=SystemClock()), await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("LOCK TABLE calls IN ACCESS EXCLUSIVE MODE")
        store.add_row(calls, call_row(1))
        await eventually(lambda: caplog.text.count("The record waits") > 1)
        await store.write(lambda conn: add(conn, "meanwhile"))
    await store.flush()
    assert (await call_ids(store), store.rows_lost) == ({"req_1"}, 0)
    await other.close()
    await store.close()


_SORTING = """
import asyncio, os, sys, threading
from pathlib import Path
from sqlalchemy import text
from freehold.clock import SystemClock
from freehold.store.engine import Store

ROWS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000) "
QUERY = text(ROWS + "SELECT i % 7 AS k, count(*), max(hex(i) || '{:0>60}') FROM n GROUP BY k".format(""))

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

def spilled():
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if "etilqs" in target:
            yield os.path.dirname(target)

def look_for_it(over, found):
    while not over.wait(0.005):
        found.update(spilled())

async def main():
    store = await Store.open(sys.argv[1], clock=SystemClock())
    async def sort(conn):
        return len((await conn.execute(QUERY)).all())
    over, found = threading.Event(), set()
    threading.Thread(target=look_for_it, args=(over, found)).start()
    before = resident_mb()
    groups = await store.look(sort)
    async with store.read() as conn:
        groups += await sort(conn)
    print(groups, round(resident_mb() - before), *found)
    over.set()
    await store.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_what_a_read_has_to_sort_is_not_kept_in_memory_but_beside_the_data(database_url: str) -> None:
    command = [sys.executable, "-c", _SORTING, database_url]
    done = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    groups, grown_mb, *spilled = (await done.communicate())[0].decode().split()
    assert groups == "14"
    assert int(grown_mb) < 20  # 400,000 rows of 70 bytes and more
    assert spilled == [os.path.dirname(database_url.removeprefix("sqlite:///"))]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_looks_that_too_many_others_wait_for_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "LOOKS_WAITING", 1)
    found = await asyncio.gather(*(store.look(_looked) for _ in range(5)), return_exceptions=True)
    assert [isinstance(one, Unavailable) for one in found] == [False, False, True, True, True]
    assert await store.look(_looked) == set()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_a_connection_that_broke_is_replaced_unseen(store: Store) -> None:
    async def mine(conn: Connection) -> int:
        return int((await conn.execute(text("SELECT pg_backend_pid()"))).scalar_one())

    first = await store.write(mine)
    async with store.read() as conn:
        await conn.execute(text(f"SELECT pg_terminate_backend({first})"))
    assert await store.write(lambda conn: add(conn, "after")) == "after"
    assert await store.write(mine) != first
    assert await names(store) == {"after"}


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_text_that_the_database_cannot_hold_is_the_caller_s_mistake_and_harms_nobody_else(store: Store) -> None:
    others = [store.write(lambda conn: add(conn, "one")), store.write(lambda conn: add(conn, "two"))]
    bad = store.write(lambda conn: add(conn, "a\0b"))
    *_, failed = await asyncio.gather(*others, bad, return_exceptions=True)
    assert isinstance(failed, InvalidRequest) and "NUL" in failed.message
    with pytest.raises(InvalidRequest, match="NUL"):
        async with store.read() as connection:
            await connection.execute(select(workspaces).where(workspaces.c.id == "a\0b"))
    assert await names(store) == {"one", "two"}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://somewhere/db", "neither sqlite"),
        ("not an address", "neither sqlite"),
        ("sqlite://", "name a file"),
        ("sqlite:////no/such/folder/file.db", "cannot be opened"),
    ],
)
async def test_an_address_that_leads_nowhere_stops_the_start(url: str, reason: str) -> None:
    with pytest.raises(Misconfigured, match=reason):
        await Store.open(url, clock=SystemClock())


async def test_a_postgresql_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(
        Unavailable, match=r"^PostgreSQL cannot be reached: 127\.0\.0\.1:1/freehold\. Is it running"
    ) as caught:
        await Store.open("postgresql://freehold:hidden-word@127.0.0.1:1/freehold", clock=SystemClock())
    assert "hidden-word" not in str(caught.value)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_a_database_that_goes_away_is_said_and_found_again(
    store: Store, database_url: str, postgres: Postgres
) -> None:
    await store.write(lambda conn: add(conn, "before"))
    await postgres.shut_out(database_url)
    store.add_row(calls, call_row(1))
    with pytest.raises(Unavailable, match="Nothing was written"):
        await store.write(lambda conn: add(conn, "meanwhile"))
    with pytest.raises(Unavailable, match="cannot be read"):
        await names(store)
    with pytest.raises(Unavailable, match="cannot be read"):
        await store.look(_looked)
    assert not store.healthy
    await postgres.let_in(database_url)
    await eventually(lambda: store.healthy)
    await store.write(lambda conn: add(conn, "after"))
    await store.flush()
    assert await names(store) == {"before", "after"}
    assert await call_ids(store) == {"req_1"}
    assert store.rows_lost == 0
