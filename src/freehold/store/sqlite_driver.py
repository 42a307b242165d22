"""sqlite3 as SQLAlchemy's asyncio wants it, with one hop to a thread a statement, or none.

SQLAlchemy's adapter for aiosqlite makes four hops a statement (cursor, execute, fetch, close), and each costs more than
the statement. Here a reading connection has a thread of its own and makes one; the writing connection runs
its calls where it stands, because whole transactions are carried to a thread by `carried`.

It offers the methods that the adapter calls and no others: no streaming of results.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
_STRAYED = "an operation awaited something that is not its connection: the whole group would have waited for it"
_STRAYS = 3


class Runner(Protocol):
    """Where a connection's calls run."""

    async def run(self, call: Callable[[], T]) -> T:
        """The result of the call."""

    def close(self) -> None:
        """There are no more."""


class Here:
    """Calls run where they are made."""

    async def run(self, call: Callable[[], T]) -> T:
        """See `Runner`."""
        return call()

    def close(self) -> None:
        """See `Runner`."""


class OwnThread:
    """Calls run one after the other on a thread."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, call: Callable[[], T]) -> T:
        """See `Runner`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def close(self) -> None:
        """See `Runner`."""
        self._thread.shutdown(wait=False)


def carried(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end right here, without an event loop: all that it awaits must be ready at once.

    If it awaits something else, a `RuntimeError` is raised there.
    """
    strayed = 0
    try:
        work.send(None)
        while strayed < _STRAYS:
            strayed += 1
            work.throw(RuntimeError(_STRAYED))
    except StopIteration as ended:
        result: T = ended.value
        return result
    work.close()
    raise RuntimeError(_STRAYED)


class DriverConnection:
    """One sqlite3 connection and where its calls run."""

    def __init__(self, connection: sqlite3.Connection, runner: Runner) -> None:
        self._connection: sqlite3.Connection | None = connection  # by this name the adapter asks if it is open
        self._runner = runner

    @classmethod
    async def open(cls, connect: Callable[[], sqlite3.Connection], runner: Runner) -> DriverConnection:
        """Connect, where the calls will run."""
        try:
            return cls(await runner.run(connect), runner)
        except BaseException:
            runner.close()
            raise

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection itself. Raises `sqlite3.OperationalError` if it is closed."""
        if self._connection is None:
            raise sqlite3.OperationalError("connection closed")
        return self._connection

    def cursor(self) -> DriverCursor:
        """A cursor for one statement."""
        return DriverCursor(self)

    async def run(self, call: Callable[[], T]) -> T:
        """The result of a call, from where this connection's calls run."""
        return await self._runner.run(call)

    async def commit(self) -> None:
        """End the transaction, if there is one."""
        await self.run(self.raw.commit)

    async def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        await self.run(self.raw.rollback)

    async def create_function(self, *arguments: Any, **options: Any) -> None:
        """As in sqlite3."""
        await self.run(partial(self.raw.create_function, *arguments, **options))

    async def close(self) -> None:
        """Close it; again does nothing."""
        if (connection := self._connection) is not None:
            self._connection = None
            await self.run(connection.close)
            self._runner.close()

    def stop(self) -> None:
        """Close it without waiting."""
        if (connection := self._connection) is not None:
            self._connection = None
            connection.close()
            self._runner.close()


class DriverCursor:
    """One statement and all its rows."""

    def __init__(self, connection: DriverConnection) -> None:
        self._connection = connection
        self._rows: Sequence[Any] = ()
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> DriverCursor:
        """Ready."""
        return self

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> DriverCursor:
        """Run the statement and fetch its rows, in one go."""
        await self._connection.run(partial(self._run, self._connection.raw, sql, parameters))
        return self

    async def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> DriverCursor:
        """Run the statement for each of the parameters."""
        cursor = await self._connection.run(partial(self._connection.raw.executemany, sql, parameters))
        self.rowcount = cursor.rowcount
        return self

    async def fetchall(self) -> Sequence[Any]:
        """The rows."""
        return self._rows

    async def close(self) -> None:
        """There is nothing left to close."""

    def _run(self, connection: sqlite3.Connection, sql: str, parameters: Sequence[Any]) -> None:
        cursor = connection.execute(sql, parameters)
        self.description = cursor.description
        self._rows = cursor.fetchall() if cursor.description else ()
        self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
