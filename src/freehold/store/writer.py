"""The group-commit writer: one task a process, through which everything is written.

While one group is being committed the next one gathers, so that a lone write costs one commit and a thousand at once
cost little more. Nothing that somebody waits for waits for company.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Table

from freehold.errors import Unavailable
from freehold.store.base import Database, Operation, Row
from freehold.store.groups import Entry, Groups
from freehold.store.rows import Rows
from freehold.store.wakes import Wakes

log = logging.getLogger(__name__)

GROUP_OPERATIONS = 1_000
GROUP_ROWS = 5_000
ROWS_WAIT_S = 0.2
"""Rows go in with the next group, and at the latest after this; those that come while a group is written wait for the
next. At 0.02 the groups of rows alone cost a server with 100 calls a second 7 % of a core."""
WAITING_MOST = 20_000
"""Operations that may wait; a database that is so far behind is not helped by more."""
PROBE_S = 1.0
"""How often a database that went away is asked whether it is back."""


class Writer:
    """Queue, task and health. `probe` is a write that changes nothing, to find out that writing works again."""

    def __init__(self, database: Database, wakes: Wakes, probe: Operation) -> None:
        self._database = database
        self._wakes = wakes
        self._probe = probe
        self.rows = Rows()
        self._groups = Groups(database, self.rows)
        self._waiting: deque[Entry] = deque()
        self._something = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._rows_due = False
        self._closing = False
        self.healthy = True
        self.commits = 0
        self._task = asyncio.create_task(self._run(), name="store writer")

    async def write(self, operation: Operation, wake: Sequence[str]) -> Any:
        """See `Store.write`."""
        if self._inside():
            raise RuntimeError("an operation called write: it would wait for itself; use the connection it was given")
        if self._closing:
            raise Unavailable("The server is stopping and takes no more writes.")
        if len(self._waiting) >= WAITING_MOST:
            raise Unavailable(f"{WAITING_MOST} writes wait for the database already; try again later.")
        return await self._enter(operation, wake)

    def add_row(self, table: Table, row: Row) -> None:
        """See `Store.add_row`."""
        self.rows.add(table, row)
        if self._timer is None:
            self._wait_for_rows()
        elif self.rows.waiting == GROUP_ROWS:
            self._rows_have_waited()

    async def flush(self) -> None:
        """See `Store.flush`."""
        target = self.rows.added
        await self.write(_nothing, ())
        while self.rows.settled < target:
            await self.write(_nothing, ())

    async def close(self) -> None:
        """Write what waits, then end."""
        self._closing = True
        self._something.set()
        await asyncio.wait({self._task})
        self.rows.give_up()
        if self._timer is not None:
            self._timer.cancel()
        await self._groups.close()

    def _wait_for_rows(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(ROWS_WAIT_S, self._rows_have_waited)

    def _rows_have_waited(self) -> None:
        self._rows_due = True
        self._something.set()

    def _inside(self) -> bool:
        """True if an operation asks: it runs in the writer's task, or on a thread that has no event loop."""
        try:
            return asyncio.current_task() is self._task
        except RuntimeError:
            return True

    def _enter(self, operation: Operation, wake: Sequence[str]) -> asyncio.Future[Any]:
        """A caller that is cancelled cancels only the future: the operation stays in the queue and is applied whole."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(Entry(operation, wake, future))
        self._something.set()
        return future

    async def _run(self) -> None:
        try:
            while not self._closing or self._waiting or (self.rows.waiting and self.healthy):
                await self._something.wait()
                self._something.clear()
                while self._waiting or self._rows_due or (self._closing and self.rows.waiting):
                    if not await self._group():
                        break
                if self._waiting:
                    self._something.set()
        finally:  # nobody may wait for a writer that has ended, however it ended
            self._closing = True
            _fail(self._waiting, Unavailable("The server has stopped. Nothing was written."))
            self._waiting.clear()

    async def _group(self) -> bool:
        """Write one group; false if the database is away."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._rows_due = self.rows.waiting > GROUP_ROWS
        entries = [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP_OPERATIONS))]
        taken = self.rows.take(GROUP_ROWS)
        try:
            await self._database.transact(self._groups.commit(entries, taken))
        except Unavailable as error:
            self._went_away(error)
            self.rows.put_back(taken)
            self._broke_off(entries, error)
            return False
        except Exception as error:
            if self._database.is_contended(error) and not self._closing:
                log.warning("The record waits: %s.", self._database.spoken(error))
                self.rows.put_back(taken)
                if self._timer is None:
                    self._wait_for_rows()
            else:
                log.exception("A group of %d writes failed.", len(entries))
                self.rows.lose(taken)
            self._broke_off(entries, error)
            return True
        except BaseException:
            _fail(entries, Unavailable("The server has stopped; whether this was written is not known."))
            raise
        self._came_back()
        self.commits += 1
        self.rows.settle(taken)
        self._tell(entries)
        return True

    def _tell(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.done.done():
                continue
            if entry.failure is not None:
                entry.done.set_exception(entry.failure)
            else:
                entry.done.set_result(entry.outcome)
        self._wakes.signal({key for entry in entries if entry.failure is None for key in entry.wake})

    def _broke_off(self, entries: Sequence[Entry], error: Exception) -> None:
        """Those that had ended by themselves are not told what became of the others."""
        self._tell([entry for entry in entries if entry.ended])
        _fail(entries, error)

    def _went_away(self, error: Unavailable) -> None:
        if self.healthy:
            log.error("The database cannot be written: %s", error.message, exc_info=error)
        self.healthy = False
        if not self._closing:
            asyncio.get_running_loop().call_later(PROBE_S, self._ask)

    def _ask(self) -> None:
        if not self.healthy and not self._closing and not self._waiting:
            self._enter(self._probe, ()).add_done_callback(_heard)

    def _came_back(self) -> None:
        if not self.healthy:
            log.warning("The database can be written again.")
        self.healthy = True


async def _nothing(_connection: object) -> None:
    """Written when everything before it is."""


def _heard(future: asyncio.Future[Any]) -> None:
    """The probe's answer shows in `healthy`; its error needs no reader."""
    if not future.cancelled():
        future.exception()


def _fail(entries: Iterable[Entry], error: Exception) -> None:
    for entry in entries:
        if not entry.done.done():
            entry.done.set_exception(entry.failure or error)
