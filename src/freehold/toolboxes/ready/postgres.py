"""A PostgreSQL database that can only be read: a read-only transaction, and every statement inside a select of ours.

The extended protocol takes one statement at a time, so nothing can stand behind it; inside parentheses PostgreSQL's
grammar takes nothing but queries; and the role must be no superuser, whose functions reach beyond the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import URL, Connection, inspect, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from freehold.toolboxes.functions import ToolFailed
from freehold.toolboxes.ready.bound import bound
from freehold.toolboxes.ready.queries import Bounds, Found, cut, refused

_ROW = "freehold_row"
_CONNECT_S = 15


class Postgres:
    """See `Database`. Each question has a connection of its own."""

    def __init__(self, url: URL) -> None:
        self._engine = create_async_engine(
            url.set(drivername="postgresql+asyncpg"),
            poolclass=NullPool,
            connect_args={"timeout": _CONNECT_S, "server_settings": {"default_transaction_read_only": "on"}},
        )

    async def tables(self) -> Mapping[str, Sequence[str]]:
        """See `Database`."""
        try:
            async with self._engine.connect() as connection:
                return await connection.run_sync(self._look)
        except (SQLAlchemyError, OSError) as error:
            raise refused(error) from error

    async def query(self, statement: str, values: Mapping[str, Any], bounds: Bounds) -> Found:
        """See `Database`."""
        asked = text(
            f"SELECT left(row_to_json({_ROW})::text, :freehold_most) FROM (\n{bound(statement, values)}\n) AS {_ROW} "
            "LIMIT :freehold_rows"
        )
        limits = {"freehold_most": bounds.row_bytes + 1, "freehold_rows": bounds.rows + 1}
        try:
            async with asyncio.timeout(bounds.seconds + _CONNECT_S), self._engine.connect() as connection:
                await connection.execute(text("SET TRANSACTION READ ONLY"))
                await connection.execute(text(f"SET LOCAL statement_timeout = {round(bounds.seconds * 1000)}"))
                await connection.execute(text("SET LOCAL lock_timeout = 2000"))
                if await connection.scalar(text("SELECT current_setting('is_superuser')")) == "on":
                    raise ToolFailed("The toolbox connects as a superuser; it must be given a role that only reads.")
                found = (await connection.execute(asked, {**values, **limits})).scalars().all()
                await connection.rollback()
        except TimeoutError as error:
            raise ToolFailed(f"The query took longer than {bounds.seconds:g} s and was stopped.") from error
        except (DBAPIError, SQLAlchemyError, OSError) as error:
            raise refused(error) from error
        rows = [cut(row, bounds.row_bytes) for row in found[: bounds.rows]]
        return Found(rows, len(found) > bounds.rows)

    async def close(self) -> None:
        """See `Database`."""
        await self._engine.dispose()

    def _look(self, connection: Connection) -> dict[str, list[str]]:
        seen = inspect(connection)
        names = [*seen.get_table_names(), *seen.get_view_names()]
        return {name: [f"{one['name']} {one['type']}" for one in seen.get_columns(name)] for name in names}
