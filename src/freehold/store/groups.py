"""One group of operations becomes one transaction, and an operation that fails, fails alone.

First all of them run without savepoints: that is the usual case, at half the statements. When one fails, the
transaction is rolled back and run again with a savepoint around each. When another process was in the way, they run
again one by one. It does not know who waits for the outcome.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import Unavailable
from freehold.store.base import Database, Operation, Row, sentence
from freehold.store.rows import Rows

ATTEMPTS_ALONE = 4
"""Deadlocks and lock timeouts in a row before the caller is told to come again."""


@dataclass(slots=True, eq=False)
class Entry:
    """One operation of a group and how it ended: `failure`, or else `outcome`."""

    operation: Operation
    wake: Sequence[str]
    done: asyncio.Future[Any]
    outcome: Any = None
    failure: BaseException | None = None
    ended: bool = False
    """It was run by itself, so whatever becomes of the rest of its group, this is how it ended."""


class _OneFailed(Exception):
    """An operation failed while others shared its transaction."""


class Groups:
    """Runs groups on the one writing connection, which it opens anew when it breaks."""

    def __init__(self, database: Database, rows: Rows) -> None:
        self._database = database
        self._rows = rows
        self._refused: list[tuple[Table, Exception]] = []
        """Rows that the transaction goes on without."""
        self._connection: AsyncConnection | None = None

    async def commit(self, entries: Sequence[Entry], taken: Mapping[Table, Sequence[Row]]) -> None:
        """Write the group and note how each entry ended.

        Raises:
            Unavailable: database, disk or connection failed; nothing of it was written, or nobody knows (it says so).
        """
        for entry in entries:
            entry.outcome = entry.failure = None
        ordered = sorted(entries, key=lambda entry: self._database.in_order(entry.wake))
        try:
            await self._at_most_twice(ordered, taken)
        except Exception as error:
            if not self._database.is_contended(error):
                raise
            await self._one_by_one(ordered, taken)

    async def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _at_most_twice(self, entries: Sequence[Entry], taken: Mapping[Table, Sequence[Row]]) -> None:
        try:
            await self._transaction(lambda connection: self._together(connection, entries), entries, taken)
        except _OneFailed:
            if len(entries) > 1 or taken:
                await self._transaction(lambda connection: self._apart(connection, entries), entries, taken)

    async def _one_by_one(self, entries: Sequence[Entry], taken: Mapping[Table, Sequence[Row]]) -> None:
        for entry in entries:
            await self._alone(entry)
            entry.ended = True
        if taken:
            await self._transaction(lambda connection: self._together(connection, ()), (), taken)

    async def _alone(self, entry: Entry) -> None:
        for attempt in range(ATTEMPTS_ALONE):
            entry.outcome = entry.failure = None
            try:
                await self._at_most_twice([entry], {})
                return
            except Exception as error:
                if not self._database.is_contended(error):
                    raise
                entry.failure = Unavailable(f"{sentence(self._database.spoken(error))}. Try again.")
            await asyncio.sleep(random.random() * 0.02 * 2**attempt)

    async def _transaction(
        self,
        work: Callable[[AsyncConnection], Awaitable[None]],
        entries: Sequence[Entry],
        taken: Mapping[Table, Sequence[Row]],
    ) -> None:
        """One transaction around `work`; before its COMMIT a broken connection is replaced once."""
        try:
            connection = await self._begun(work, entries, taken)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            if not self._database.is_gone(error):
                raise
            try:
                connection = await self._begun(work, entries, taken)
            except (SQLAlchemyError, OSError, TimeoutError) as again:
                if not self._database.is_gone(again):
                    raise
                raise Unavailable(
                    f"{sentence(self._database.spoken(again))}. Nothing was written; try again later."
                ) from again
        await self._commit(connection)
        for table, refusal in self._refused:
            self._rows.reject(table, refusal)

    async def _begun(
        self,
        work: Callable[[AsyncConnection], Awaitable[None]],
        entries: Sequence[Entry],
        taken: Mapping[Table, Sequence[Row]],
    ) -> AsyncConnection:
        self._refused = []
        try:
            connection = await self._open()
            await connection.begin()
            await work(connection)
            await self._insert(connection, taken)
            if keys := {key for entry in entries if entry.failure is None for key in entry.wake}:
                await self._database.notify(connection, keys)
        except BaseException as error:
            await self._roll_back(broken=self._database.is_gone(error))
            raise
        return connection

    async def _open(self) -> AsyncConnection:
        if self._connection is None:
            try:
                self._connection = await self._database.writer.connect()
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                raise Unavailable(
                    f"{sentence(self._database.spoken(error))}. Nothing was written; try again later."
                ) from error
        return self._connection

    async def _commit(self, connection: AsyncConnection) -> None:
        try:
            await connection.commit()
        except Exception as error:
            await self._roll_back(broken=True)
            if self._database.is_contended(error):
                raise
            certain = self._database.certainly_failed(error)
            told = (
                "Nothing was written" if certain else "Whether this was written is not known: look before you repeat it"
            )
            raise Unavailable(f"{sentence(self._database.spoken(error))}. {told}.") from error

    async def _together(self, connection: AsyncConnection, entries: Sequence[Entry]) -> None:
        for entry in entries:
            try:
                entry.outcome = await entry.operation(connection)
            except Exception as error:
                self._raise_unless_its_own(error)
                entry.failure = error
                raise _OneFailed from error
            _check_open(connection)

    async def _apart(self, connection: AsyncConnection, entries: Sequence[Entry]) -> None:
        for entry in entries:
            entry.outcome = entry.failure = None
            try:
                async with connection.begin_nested():
                    entry.outcome = await entry.operation(connection)
            except Exception as error:  # noqa: BLE001 (whatever it is, it goes to whoever waits for this operation)
                self._raise_unless_its_own(error)
                entry.failure = error
            _check_open(connection)

    async def _insert(self, connection: AsyncConnection, taken: Mapping[Table, Sequence[Row]]) -> None:
        for table, rows in taken.items():
            if not await self._inserted(connection, table, rows):
                for row in rows:
                    await self._inserted(connection, table, [row])

    async def _inserted(self, connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> bool:
        try:
            async with connection.begin_nested():
                await self._database.insert_rows(connection, table, rows)
        except Exception as error:  # noqa: BLE001 (drivers raise many kinds for a bad value; each is logged)
            self._raise_unless_its_own(error)
            if len(rows) == 1:
                self._refused.append((table, error))
            return False
        return True

    def _raise_unless_its_own(self, error: Exception) -> None:
        """An error of the database is everybody's; every other one belongs to the operation."""
        if self._database.is_gone(error) or self._database.is_contended(error):
            raise error

    async def _roll_back(self, *, broken: bool) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            if broken:
                self._connection = None
                await connection.invalidate()
                await connection.close()
            else:
                await connection.rollback()
        except (SQLAlchemyError, OSError, TimeoutError):
            self._connection = None  # it was broken already; the next group opens another


def _check_open(connection: AsyncConnection) -> None:
    if not connection.in_transaction():
        raise RuntimeError("an operation ended the transaction that it shares: it must not commit, roll back or close")
