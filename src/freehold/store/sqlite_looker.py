"""A thread with a reading connection, to which whole reading operations are carried: one hop for all statements."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from freehold.store.sqlite_driver import carried

T = TypeVar("T")


class Looker:
    """Runs reading operations one after the other. The engine's connections run their calls where they stand."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite looker")
        self._connection: AsyncConnection | None = None
        self.waiting = 0
        """Operations that are not over."""

    async def look(self, operation: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What the operation gives; all that it reads is of one moment."""
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._carry, operation)
        finally:
            self.waiting -= 1

    async def close(self) -> None:
        """There are no more operations."""
        await asyncio.get_running_loop().run_in_executor(self._thread, lambda: carried(self._let_go()))
        self._thread.shutdown(wait=False)

    def _carry(self, operation: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        return carried(self._run(operation))

    async def _run(self, operation: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        if self._connection is None:
            self._connection = await self._engine.connect()
        try:
            found = await operation(self._connection)
            await self._connection.rollback()
        except BaseException:
            await self._let_go()  # whatever it was, the next one begins with a connection that is sound
            raise
        return found

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.invalidate()
            await connection.close()
        await self._engine.dispose()
