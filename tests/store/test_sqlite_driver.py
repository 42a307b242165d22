"""A coroutine carried to its end without an event loop."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from freehold.store.sqlite_driver import DriverConnection, Here, OwnThread, carried


async def nested(depth: int) -> int:
    return depth if depth == 0 else await nested(depth - 1)


def test_what_is_ready_at_once_is_carried_to_its_end() -> None:
    assert carried(nested(50)) == 0


def test_an_error_comes_out_as_it_is() -> None:
    async def fails() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        carried(fails())


def test_who_awaits_something_else_is_told_and_cannot_go_on_for_ever() -> None:
    told = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(0)
            except RuntimeError as error:
                told.append(error)

    with pytest.raises(RuntimeError, match="not its connection"):
        carried(stubborn())
    assert len(told) == 3


@pytest.mark.parametrize("runner", [Here, lambda: OwnThread("test")])
async def test_a_statement_gives_its_rows_and_a_closed_connection_an_error(runner: type[Here]) -> None:
    connection = await DriverConnection.open(lambda: sqlite3.connect(":memory:", check_same_thread=False), runner())
    await connection.cursor().execute("CREATE TABLE t (n)")
    filled = await connection.cursor().executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(3)])
    assert filled.rowcount == 3
    read = await connection.cursor().execute("SELECT n FROM t WHERE n > ?", (0,))
    assert await read.fetchall() == [(1,), (2,)]
    returned = await connection.cursor().execute("UPDATE t SET n = n + 1 RETURNING n")
    assert (len(await returned.fetchall()), returned.rowcount) == (3, 3)
    await connection.commit()
    await connection.close()
    await connection.close()
    with pytest.raises(sqlite3.OperationalError, match="closed"):
        await connection.cursor().execute("SELECT 1")
