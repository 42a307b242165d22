"""SQLite as the database: one file in WAL mode, every commit on the disk before it is acknowledged.

`BEGIN IMMEDIATE` for the writer: a transaction that reads first and then wants to write fails at once with SQLITE_BUSY,
whatever the timeout. Other processes are noticed by `PRAGMA data_version`, asked on the writer's own connection, where
our own commits do not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import AsyncAdaptedQueuePool, Connection, Table, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import PoolProxiedConnection

from freehold.errors import Misconfigured, Unavailable
from freehold.store.base import Row
from freehold.store.sqlite_driver import DriverConnection, Here, OwnThread, Runner, carried
from freehold.store.sqlite_looker import Looker
from freehold.store.wakes import Wakes

T = TypeVar("T")

READERS = 4
"""Connections for reading; each is a thread."""
LOOKERS = 2
"""Threads for what is read often, each with a connection."""
LOOKS_WAITING = 5_000
"""Reads that may wait for one of them; a disk that is so far behind is not helped by more."""
ROWS_AT_ONCE = (64, 8, 1)
"""Rows that one statement inserts. Each statement hands the interpreter to the event loop and has to wait for it again:
one a row cost a busy server 30 µs a row, three times what the database took."""
BUSY_TIMEOUT_S = 5.0
"""How long to wait for another process that is writing; its groups take milliseconds."""
WAL_KEPT_BYTES = 64 << 20
"""A log that a long read has let grow is cut back to this."""
POLL_QUICK_S = 0.005
POLL_IDLE_S = 0.02
QUICK_POLLS = 100
"""After a change, poll quickly for this many rounds: more of a stream is likely to follow."""

_READING = ("query_only = ON", "temp_store = FILE")
"""What a read sorts goes to a temporary file when it grows: in memory, a report over 900,000 calls took 55 MB and the
process kept them."""

_GONE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}
_SPOKEN = {
    sqlite3.SQLITE_BUSY: "another process holds the database's write lock",
    sqlite3.SQLITE_FULL: "the disk or the database is full",
    sqlite3.SQLITE_IOERR: "the disk reported an error",
    sqlite3.SQLITE_READONLY: "the database file is read-only",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged",
    sqlite3.SQLITE_NOTADB: "the database file is not a database",
}


class Sqlite:
    """A `Database` (see `base.py`) in one file."""

    name = "sqlite"

    def __init__(self, url: URL) -> None:
        if not url.database or url.database == ":memory:":
            raise Misconfigured(
                f"{url}: name a file, as in sqlite:///freehold.db (an in-memory database survives nothing)"
            )
        _make_private(Path(url.database))
        _spill_into(Path(url.database).absolute().parent)
        self._path = url.database
        self._writing: DriverConnection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite writer")
        pragmas = ("synchronous = FULL", "journal_mode = WAL", "temp_store = MEMORY")
        self.writer = self._engine(Here, 1, "BEGIN IMMEDIATE", pragmas)
        reading = partial(OwnThread, "sqlite reader")
        self.readers = self._engine(reading, READERS, "BEGIN", _READING)
        event.listen(self.writer.sync_engine, "connect", self._remember)
        self._lookers = [Looker(self._engine(Here, 1, "BEGIN", _READING)) for _ in range(LOOKERS)]

    def is_gone(self, error: BaseException, *, reading: bool = False) -> bool:
        """See `Database`."""
        if reading and _code(error) == sqlite3.SQLITE_READONLY:
            return False  # `query_only` has stopped one of our own mistakes
        return _code(error) in _GONE or "connection closed" in str(_original(error)).lower()

    def is_contended(self, error: BaseException) -> bool:
        """See `Database`: never, there is one writer at a time."""
        return False

    def is_foreign_text(self, error: BaseException) -> bool:
        """See `Database`. SQLite keeps every character."""
        return False

    def certainly_failed(self, error: BaseException) -> bool:
        """See `Database`."""
        return _code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY)

    def spoken(self, error: BaseException) -> str:
        """See `Database`."""
        return _SPOKEN.get(_code(error), "the database file cannot be used")

    def in_order(self, keys: Sequence[str]) -> str:
        """See `Database`: there is one lock, so no order matters."""
        return ""

    @contextlib.asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """See `Database`. Foreign keys are checked at the end instead: a table that is rebuilt is dropped on the way,
        and with them on, that would delete the rows that refer to it.
        """
        async with self.writer.connect() as connection:
            driver = _driver(await connection.get_raw_connection())
            await driver.cursor().execute("PRAGMA foreign_keys = OFF")
            async with connection.begin():
                yield connection
                if broken := (await connection.exec_driver_sql("PRAGMA foreign_key_check")).first():
                    raise Misconfigured(f"The migration would leave {broken[0]} with rows that refer to nothing.")
            await driver.cursor().execute("PRAGMA foreign_keys = ON")

    async def look(self, operation: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """See `Database`: carried to a looker's thread as a whole."""
        looker = min(self._lookers, key=lambda looker: looker.waiting)
        if looker.waiting >= LOOKS_WAITING:
            raise Unavailable(f"{LOOKS_WAITING} reads wait for the database already; try again later.")
        return await looker.look(operation)

    async def transact(self, work: Coroutine[Any, Any, None]) -> None:
        """See `Database`: carried to the writer's thread as a whole."""
        await asyncio.get_running_loop().run_in_executor(self._thread, carried, work)

    async def insert_rows(self, connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
        """See `Database`."""
        driver = _driver(await connection.get_raw_connection())
        row = f"({', '.join('?' * len(table.columns))})"
        done = 0
        for size in ROWS_AT_ONCE:
            statement = f"INSERT INTO {table.name} VALUES {', '.join([row] * size)}"
            while done + size <= len(rows):
                some = tuple(itertools.chain.from_iterable(rows[done : done + size]))
                await driver.cursor().execute(statement, some)
                done += size

    async def notify(self, connection: AsyncConnection, keys: Collection[str]) -> None:
        """See `Database`: the commit itself is the notice."""

    async def watch(self, wakes: Wakes) -> None:
        """See `Database`: wakes everybody, because nothing tells which rows changed."""
        seen: tuple[int, object] | None = None
        quick = 0
        while True:
            await wakes.watched.wait()
            now = await self._data_version()
            if seen is not None and now is not None and now != seen:
                wakes.signal_all()
                quick = QUICK_POLLS
            seen = now or seen
            quick = max(0, quick - 1)
            await asyncio.sleep(POLL_QUICK_S if quick else POLL_IDLE_S)

    async def close(self) -> None:
        """See `Database`."""
        for looker in self._lookers:
            await looker.close()
        await self.readers.dispose()
        await self.writer.dispose()
        self._thread.shutdown(wait=False)

    def _engine(
        self, runner: Callable[[], Runner], connections: int, begin: str, pragmas: Sequence[str]
    ) -> AsyncEngine:
        connect = partial(
            sqlite3.connect,
            self._path,
            isolation_level=None,
            timeout=BUSY_TIMEOUT_S,
            cached_statements=256,
            check_same_thread=False,  # one at a time, but `close` may come from another
        )
        engine = create_async_engine(
            "sqlite+aiosqlite://",
            async_creator=lambda: DriverConnection.open(connect, runner()),
            poolclass=AsyncAdaptedQueuePool,
            hide_parameters=True,  # an error's text must not hold what people wrote
            pool_size=connections,
            max_overflow=0,
            pool_timeout=BUSY_TIMEOUT_S,
        )
        common = ("foreign_keys = ON", f"journal_size_limit = {WAL_KEPT_BYTES}")

        def connected(connection: Any, record: object) -> None:
            cursor = connection.cursor()
            for pragma in (*pragmas, *common):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        def begun(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        if runner is Here:  # a broken connection is closed, which never waits; `terminate` asks for an event loop
            dialect = engine.sync_engine.dialect
            dialect.do_terminate = dialect.do_close  # type: ignore[method-assign]
        event.listen(engine.sync_engine, "connect", connected)
        event.listen(engine.sync_engine, "begin", begun)
        return engine

    def _remember(self, connection: Any, record: object) -> None:
        self._writing = connection.driver_connection

    async def _data_version(self) -> tuple[int, object] | None:
        driver = self._writing
        if driver is None:
            return None
        look = partial(_data_version, driver)
        return await asyncio.get_running_loop().run_in_executor(self._thread, look)


def _data_version(driver: DriverConnection) -> tuple[int, object] | None:
    try:
        return int(driver.raw.execute("PRAGMA data_version").fetchone()[0]), driver
    except sqlite3.Error:
        return None  # closed, and about to be replaced


def _driver(connection: PoolProxiedConnection) -> DriverConnection:
    driver = connection.driver_connection
    assert isinstance(driver, DriverConnection)
    return driver


def _make_private(path: Path) -> None:
    """Create the file for its owner only; SQLite gives its log the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise Misconfigured(f"The database file {path} cannot be opened for writing: {error.strerror}.") from error


def _spill_into(folder: Path) -> None:
    """What grows too large to be sorted in memory belongs beside the data, not on another disk.

    The folder is the whole process's, and may not change under a statement that runs: the first one stays. SQLite reads
    `SQLITE_TMPDIR` when it is imported, too early for us; a build without this pragma keeps to the system's folder.
    """
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        known = connection.execute("PRAGMA temp_store_directory").fetchone()
        if not known or not known[0]:
            quoted = str(folder).replace("'", "''")
            with contextlib.suppress(sqlite3.OperationalError):  # it cannot be written: opening the database says so
                connection.execute(f"PRAGMA temp_store_directory = '{quoted}'")


def _original(error: BaseException) -> BaseException:
    original: BaseException | None = getattr(error, "orig", None)
    return original or error


def _code(error: BaseException) -> int:
    """SQLite's primary result code of an error, or -1."""
    extended: int = getattr(_original(error), "sqlite_errorcode", -1)
    return extended & 0xFF if extended >= 0 else -1
