"""What the writer and the engine ask of a database, whichever it is. `sqlite.py` and `postgres.py` answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias, TypeVar

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from freehold.store.wakes import Wakes

T = TypeVar("T")

Connection: TypeAlias = AsyncConnection
"""What an operation is handed and `Store.read` gives; other rooms name it by this, they do not import SQLAlchemy."""

Operation: TypeAlias = Callable[[AsyncConnection], Awaitable[Any]]
"""Work for the writer's transaction. It awaits nothing but the connection, has no effect besides it (it may be called
again after a rollback: only the last call counts), and never commits or rolls back."""

Row: TypeAlias = tuple[Any, ...]
"""One row for `add_row`: a value for every column, in the table's order."""


class Database(Protocol):
    """One kind of database with its two engines and its habits."""

    name: str
    readers: AsyncEngine
    """Connections that only look. What one block reads is one snapshot."""
    writer: AsyncEngine
    """The pool of one connection whose `begin` takes what it needs to write."""

    def is_gone(self, error: BaseException, *, reading: bool = False) -> bool:
        """True if the database, disk or connection failed, not the statement: nothing wrong with the operation."""

    def is_contended(self, error: BaseException) -> bool:
        """True if another process was in the way (deadlock, lock timeout): worth trying again by itself."""

    def is_foreign_text(self, error: BaseException) -> bool:
        """True if the statement held text with a character that this database cannot keep or look for."""

    def certainly_failed(self, error: BaseException) -> bool:
        """True if a COMMIT that failed so has certainly not happened; else nobody knows."""

    def spoken(self, error: BaseException) -> str:
        """The failure in words for the caller, without addresses or passwords."""

    def in_order(self, keys: Sequence[str]) -> str:
        """Where an operation with these wake keys stands in its group, so that two processes lock in one order."""

    def migrating(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection in a transaction that no other process's migration shares; committed at the end."""

    async def look(self, operation: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What `operation` reads of one moment, wherever that is cheapest. It awaits nothing but the connection."""

    async def transact(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what the writer does with its connection, wherever that is cheapest."""

    async def insert_rows(self, connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
        """Insert by the driver's own executemany, inside the open transaction."""

    async def notify(self, connection: AsyncConnection, keys: Collection[str]) -> None:
        """Tell the other processes, when this transaction commits, that these keys have changed."""

    async def watch(self, wakes: Wakes) -> None:
        """Signal what other processes changed, for ever. Ends only by cancellation."""

    async def close(self) -> None:
        """Let every connection go."""


def sentence(words: str) -> str:
    """With a capital letter in front; names such as PostgreSQL stay as they are."""
    return words[:1].upper() + words[1:]
