"""The door to the database: reading, writing, waiting. It knows no subject; those stand beside it, a file each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy import Table
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.clock import Clock
from freehold.errors import InvalidRequest, Misconfigured, Unavailable
from freehold.store.base import Database, Row, sentence
from freehold.store.migrations.schema import bring_up_to_date, touch
from freehold.store.wakes import Wakes
from freehold.store.writer import Writer

log = logging.getLogger(__name__)

T = TypeVar("T")


class Store:
    """Everything that survives a crash, for one server process. Made by `open`, ended by `close`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self.clock = clock
        self.wakes = Wakes()
        self.looks = 0
        """Reading operations so far."""
        self._writer = Writer(database, self.wakes, touch)
        self._watcher = asyncio.create_task(database.watch(self.wakes), name="store watcher")
        self._watcher.add_done_callback(_watcher_ended)

    @classmethod
    async def open(cls, url: str, *, clock: Clock) -> Store:
        """Connect to `sqlite:///path/to/file.db` or `postgresql://user:password@host/name` and bring the schema to
        the newest version. Several processes may do so at once.

        Raises:
            Misconfigured: not such an address, or the database is of a newer version or not ours.
            Unavailable: the database cannot be reached.
        """
        database = _database(url)
        try:
            await bring_up_to_date(database)
        except BaseException as error:
            await database.close()
            if isinstance(error, SQLAlchemyError | OSError) and database.is_gone(error):
                told = f"{sentence(database.spoken(error))}: {_place(url)}. Is it running, and is that its address?"
                raise Unavailable(told) from error
            raise
        return cls(database, clock)

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._database.name

    @property
    def healthy(self) -> bool:
        """False while writes fail because the disk is full or the database is away; asked anew every second."""
        return self._writer.healthy

    @property
    def rows_waiting(self) -> int:
        """Rows of `add_row` that are not yet written, those of the group that is being written apart."""
        return self._writer.rows.waiting

    @property
    def rows_lost(self) -> int:
        """Rows of `add_row` that were dropped because too many waited, or refused by the database."""
        return self._writer.rows.dropped + self._writer.rows.rejected

    @property
    def commits(self) -> int:
        """Groups committed so far."""
        return self._writer.commits

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for looking. All that one block reads is one moment's state; keep it short, it holds back the
        clean-up of what has changed since.

        Raises:
            Unavailable: the database is away, or every connection is busy.
            InvalidRequest: a text holds what the database cannot (NUL, on PostgreSQL).
        """
        try:
            connection = await self._database.readers.connect()
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise Unavailable(f"The database cannot be read: {self._database.spoken(error)}.") from error
        try:
            yield connection
        except SQLAlchemyError as error:
            raise self._reading_failed(error) from error
        finally:
            await connection.close()

    async def look(self, op: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What `op` gives, all of it of one moment: as a block of `read`, for code that runs often. On SQLite the whole
        of it is one hop to a thread, where a block makes one a statement. It awaits nothing but the connection.

        Raises:
            Unavailable: the database is away, or every connection is busy.
            InvalidRequest: a text holds what the database cannot (NUL, on PostgreSQL).
        """
        self.looks += 1
        try:
            return await self._database.look(op)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise self._reading_failed(error) from error

    async def write(self, op: Callable[[AsyncConnection], Awaitable[T]], *, wake: Sequence[str] = ()) -> T:
        """Run `op` in the writer's next transaction and return what it returned, once that is durable.

        `op` shares its transaction with others but fails alone: whatever it raises comes out here and nothing of it
        is written. It may be called again after a rollback (only the last call counts), so it has no effect but
        through the connection, awaits nothing else, and never commits. It must not go on after an error of the
        database; use `ON CONFLICT` or the connection's own `begin_nested`.

        A caller that is cancelled while it waits does not stop `op`: it is applied whole.

        After the commit every key in `wake` (a session's id, `"sessions"` …) is signalled, in every process.

        Raises:
            Unavailable: disk full, or the database is away; the message says if the outcome is not known.
            InvalidRequest: a text holds what the database cannot (NUL, on PostgreSQL).
        """
        try:
            result: T = await self._writer.write(op, wake)
        except DBAPIError as error:
            if self._database.is_foreign_text(error):
                raise InvalidRequest(_FOREIGN_TEXT) from error
            raise
        return result

    def add_row(self, table: Table, row: Row) -> None:
        """Add one row that nobody waits for; call it on the event loop. Under a microsecond, never blocks or raises.

        It is written with the next group, at most 0.2 s later. A crash before that loses it. While the database is
        away 50,000 rows wait; what comes after is dropped, counted in `rows_lost` and logged. A row that the database
        refuses is counted and logged too, and harms no other.
        """
        self._writer.add_row(table, row)

    async def insert_rows(self, connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
        """Within an operation: many rows at once, by the driver's own executemany (3 to 11 µs each). Columns in the
        table's order; all of them or none.
        """
        await self._database.insert_rows(connection, table, rows)

    async def flush(self) -> None:
        """Return when every write and row so far is durable.

        Raises:
            Unavailable: it cannot be written now; the rows still wait.
        """
        await self._writer.flush()

    def _reading_failed(self, error: Exception) -> Exception:
        """What to raise for an error of the database; itself, if it is a mistake of ours."""
        if not isinstance(error, SQLAlchemyError) or self._database.is_gone(error, reading=True):
            return Unavailable(f"The database cannot be read: {self._database.spoken(error)}.")
        return InvalidRequest(_FOREIGN_TEXT) if self._database.is_foreign_text(error) else error

    async def close(self) -> None:
        """Write what waits, then let every connection go."""
        await self._writer.close()
        self._watcher.cancel()
        await asyncio.gather(self._watcher, return_exceptions=True)
        await self._database.close()


def _watcher_ended(watcher: asyncio.Task[None]) -> None:
    """It should run until it is cancelled; without it, other processes are only noticed by whoever looks."""
    if not watcher.cancelled() and (error := watcher.exception()):
        log.error("The watcher for other processes has ended.", exc_info=error)


def _database(url: str) -> Database:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Misconfigured(_NOT_AN_ADDRESS) from error
    return _of_kind(parsed)


def _place(url: str) -> str:
    """Where the database should be, without user and password."""
    parsed = make_url(url)
    host = parsed.host or parsed.query.get("host") or "this machine"
    return f"{host}{f':{parsed.port}' if parsed.port else ''}/{parsed.database or ''}"


def _of_kind(url: URL) -> Database:
    if url.get_backend_name() == "sqlite":
        from freehold.store.sqlite import Sqlite

        return Sqlite(url)
    if url.get_backend_name() in ("postgresql", "postgres"):
        from freehold.store.postgres import Postgres  # asyncpg is not imported where SQLite is used

        return Postgres(url)
    raise Misconfigured(_NOT_AN_ADDRESS)


_FOREIGN_TEXT = "A text in this request holds a NUL character, which cannot be stored or looked for."
_NOT_AN_ADDRESS = (
    "The database's address is neither sqlite:///path/to/file.db nor postgresql://user:password@host/name."
)
