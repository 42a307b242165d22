"""A SQLite file that can only be read: opened so, watched by an authorizer, stopped by a clock."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from freehold.threads import in_thread
from freehold.toolboxes.functions import ToolFailed
from freehold.toolboxes.ready.bound import bound
from freehold.toolboxes.ready.queries import Bounds, Found, refused, row_text

_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_FORBIDDEN = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"})
_STEPS = 10_000
"""Of SQLite's machine, between two looks at the clock."""
_MOST_VALUE_BYTES = 16 << 20


class Sqlite:
    """See `Database`. Each question has a connection of its own."""

    def __init__(self, path: str, tables: Sequence[str] | None) -> None:
        self._tables = None if tables is None else frozenset(name.casefold() for name in tables)
        uri = f"{Path(path).expanduser().resolve().as_uri()}?mode=ro"
        self._engine = create_engine(
            "sqlite://", creator=lambda: sqlite3.connect(uri, uri=True, check_same_thread=False), poolclass=NullPool
        )
        event.listen(self._engine, "connect", _held)

    async def tables(self) -> Mapping[str, Sequence[str]]:
        """See `Database`."""
        return await in_thread(self._look, "tables")

    async def query(self, statement: str, values: Mapping[str, Any], bounds: Bounds) -> Found:
        """See `Database`."""
        started: list[Any] = []
        work = in_thread(lambda: self._ask(statement, values, bounds, started), "query")
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            for connection in started:
                connection.interrupt()
            raise

    async def close(self) -> None:
        """See `Database`."""
        self._engine.dispose()

    def _look(self) -> dict[str, list[str]]:
        try:
            with self._engine.connect() as connection:
                seen = inspect(connection)
                names = [name for name in [*seen.get_table_names(), *seen.get_view_names()] if self._shows(name)]
                return {name: [f"{one['name']} {one['type']}" for one in seen.get_columns(name)] for name in names}
        except SQLAlchemyError as error:
            raise refused(error) from error

    def _ask(self, statement: str, values: Mapping[str, Any], bounds: Bounds, started: list[Any]) -> Found:
        try:
            with self._engine.connect() as connection:
                raw = connection.connection.dbapi_connection
                assert isinstance(raw, sqlite3.Connection)
                started.append(raw)
                deadline = time.monotonic() + bounds.seconds
                raw.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
                raw.set_authorizer(self._judge)
                return _rows(connection, statement, values, bounds)
        except (SQLAlchemyError, sqlite3.Error) as error:
            if "interrupted" in str(error):
                raise ToolFailed(f"The query took longer than {bounds.seconds:g} s and was stopped.") from error
            raise refused(error) from error

    def _judge(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if action not in _READING:
            return sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_FUNCTION and (second or "").casefold() in _FORBIDDEN:
            return sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_READ and not self._shows(first or ""):
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    def _shows(self, table: str) -> bool:
        return self._tables is None or not table or table.casefold() in self._tables


def _held(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_VALUE_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)


def _rows(connection: Connection, statement: str, values: Mapping[str, Any], bounds: Bounds) -> Found:
    result = connection.execute(text(bound(statement, values)), dict(values))
    if not result.returns_rows:
        raise ToolFailed("The statement gives no rows.")
    found, left = list[str](), bounds.result_bytes
    while (row := result.mappings().fetchone()) is not None:  # one by one: each may be as long as SQLite allows
        if len(found) == bounds.rows or left < 0:
            return Found(found, True)
        found.append(row_text(dict(row), bounds.row_bytes))
        left -= len(found[-1])
    return Found(found)
