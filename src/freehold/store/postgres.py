"""PostgreSQL as the database: many server processes, one truth.

Its NOTIFY takes a global lock at commit, so there is one a group, from the one writer of each process, with keys only.
LISTEN needs a connection of its own that is not behind a transaction pooler; a beat through the server and back finds
out whether notices arrive, and where they do not, everybody is woken once a second.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Table, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from freehold.errors import Unavailable
from freehold.store.base import Row
from freehold.store.wakes import Wakes

T = TypeVar("T")

log = logging.getLogger(__name__)

READERS = 8
CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 30.0
"""A server that has become silent is taken for gone after this."""
LOCK_TIMEOUT_MS = 5_000
BEAT_S = 1.0
CHANNEL = "freehold"
PAYLOAD_BYTES = 7_900
"""PostgreSQL takes 8,000."""
MIGRATION_LOCK = 7_298_165_020
"""Any number, the same in every version."""

_READ_ONLY = "25006"
"""On the writer's connection: this server has become a standby."""
_GONE_CLASSES = ("08", "53", "57P", "58", "F0", "XX", _READ_ONLY, "57014")
_FOREIGN_CHARACTER = "22021"
_CONTENDED = ("40001", "40P01", "55P03")


class Postgres:
    """A `Database` (see `base.py`) on a PostgreSQL server."""

    name = "postgresql"

    def __init__(self, url: URL) -> None:
        self._url = url.set(drivername="postgresql+asyncpg")
        self._token = secrets.token_hex(8)
        lock = {"lock_timeout": str(LOCK_TIMEOUT_MS)}
        self.writer = self._engine(1, "READ COMMITTED", lock)
        self.readers = self._engine(READERS, "REPEATABLE READ", {"default_transaction_read_only": "on"})

    def is_gone(self, error: BaseException, *, reading: bool = False) -> bool:
        """See `Database`."""
        state = _state(error)
        if reading and state == _READ_ONLY:
            return False  # one of our own mistakes
        if state:
            return state.startswith(_GONE_CLASSES)
        if getattr(error, "connection_invalidated", False):
            return True
        original = getattr(error, "orig", None) or error
        if isinstance(original, asyncpg.InterfaceError):  # also raised for wrong arguments
            return "closed" in str(original)
        return isinstance(original, OSError | TimeoutError | asyncpg.InternalClientError | PoolTimeout)

    def is_contended(self, error: BaseException) -> bool:
        """See `Database`."""
        return _state(error) in _CONTENDED

    def is_foreign_text(self, error: BaseException) -> bool:
        """See `Database`."""
        return _state(error) == _FOREIGN_CHARACTER

    def certainly_failed(self, error: BaseException) -> bool:
        """See `Database`."""
        return bool(_state(error)) and not self.is_gone(error)

    def spoken(self, error: BaseException) -> str:
        """See `Database`."""
        state = _state(error)
        if state.startswith("53"):
            return f"PostgreSQL has no room left (SQLSTATE {state})"
        if state in _CONTENDED:
            return f"other processes hold the same rows (SQLSTATE {state})"
        return f"PostgreSQL stopped answering (SQLSTATE {state})" if state else "PostgreSQL cannot be reached"

    def in_order(self, keys: Sequence[str]) -> str:
        """See `Database`."""
        return min(keys, default="")

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """See `Database`."""
        async with self.writer.connect() as connection, connection.begin():
            await connection.execute(text("SET LOCAL lock_timeout = '120s'"))
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            yield connection

    async def look(self, operation: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """See `Database`."""
        try:
            connection = await self.readers.connect()
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise Unavailable(f"The database cannot be read: {self.spoken(error)}.") from error
        try:
            return await operation(connection)
        finally:
            await connection.close()

    async def transact(self, work: Coroutine[Any, Any, None]) -> None:
        """See `Database`."""
        await work

    async def insert_rows(self, connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
        """See `Database`."""
        driver = (await connection.get_raw_connection()).driver_connection
        await driver.copy_records_to_table(table.name, records=rows)  # type: ignore[union-attr]

    async def notify(self, connection: AsyncConnection, keys: Collection[str]) -> None:
        """See `Database`."""
        for payload in _payloads(self._token, sorted(keys)):
            await connection.execute(
                text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload}
            )

    async def watch(self, wakes: Wakes) -> None:
        """See `Database`."""
        while True:
            try:
                await self._listen(wakes)
            except (SQLAlchemyError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("Notices from other processes are interrupted (%s); trying again.", type(error).__name__)
            wakes.signal_all()
            await asyncio.sleep(BEAT_S)

    async def close(self) -> None:
        """See `Database`."""
        await self.readers.dispose()
        await self.writer.dispose()

    def _engine(self, connections: int, isolation: str, settings: dict[str, str]) -> AsyncEngine:
        server_settings = {
            "application_name": "freehold",
            "jit": "off",  # compiling costs more than any of our queries
            "idle_in_transaction_session_timeout": "60000",
            **settings,
        }
        return create_async_engine(
            self._url,
            hide_parameters=True,  # an error's text must not hold what people wrote
            pool_size=connections,
            max_overflow=0,
            pool_timeout=CONNECT_TIMEOUT_S,
            pool_pre_ping=connections > 1,
            isolation_level=isolation,
            connect_args={
                "timeout": CONNECT_TIMEOUT_S,
                "command_timeout": COMMAND_TIMEOUT_S,
                "server_settings": server_settings,
            },
        )

    async def _listen(self, wakes: Wakes) -> None:
        """Listen until the connection breaks, with a beat while somebody waits."""
        engine = self._engine(1, "AUTOCOMMIT", {"application_name": "freehold listener"})
        beats = asyncio.Event()

        def heard(_connection: object, _pid: int, _channel: str, payload: str) -> None:
            sender, *keys = payload.split("\n")
            if sender != self._token:
                wakes.signal(keys)
            elif not keys:
                beats.set()

        try:
            async with engine.connect() as connection:
                driver = (await connection.get_raw_connection()).driver_connection
                await driver.add_listener(CHANNEL, heard)  # type: ignore[union-attr]
                wakes.signal_all()  # for whatever was said before we listened
                while True:
                    await wakes.watched.wait()
                    await self._beat(connection, beats, wakes)
        finally:
            await engine.dispose()

    async def _beat(self, connection: AsyncConnection, beats: asyncio.Event, wakes: Wakes) -> None:
        """Send ourselves a notice; when it does not come back within a beat, wake everybody instead."""
        beats.clear()
        await self._send(connection, self._token)
        try:
            async with asyncio.timeout(BEAT_S):
                await beats.wait()
        except TimeoutError:
            log.warning("LISTEN brings no notices here (a transaction pooler?): looking once a second instead.")
            wakes.signal_all()
            return
        await asyncio.sleep(BEAT_S)

    async def _send(self, connection: AsyncConnection, payload: str) -> None:
        await connection.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload})


def _payloads(token: str, keys: Sequence[str]) -> Iterator[str]:
    """`token`, then keys, one a line; as many payloads as the size of one asks for."""
    payload = token
    for key in keys:
        if len(payload) + len(key.encode()) >= PAYLOAD_BYTES:
            yield payload
            payload = token
        payload += "\n" + key
    if payload != token:
        yield payload


def _state(error: BaseException) -> str:
    """The SQLSTATE of an error, or empty."""
    original = getattr(error, "orig", None) or error
    return getattr(original, "sqlstate", None) or ""
