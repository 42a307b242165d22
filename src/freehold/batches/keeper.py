"""What has to happen to batches although nobody asks: cancelled and expired ones end, the dead's items are freed, and
what nobody can see any more is removed a slice at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from freehold.batches.watching import alone, watching
from freehold.clock import Clock
from freehold.ids import NewId
from freehold.jobs.owners import Owners
from freehold.store import batch_work
from freehold.store.base import Connection
from freehold.store.batches import WAKE, BatchRow
from freehold.store.engine import Store
from freehold.store.webhooks import WAKE as WEBHOOKS

log = logging.getLogger(__name__)

KEPT_US = 29 * 24 * 3600 * 1_000_000
"""Results can be read this long after the batch was made (Claude API docs, "Batch processing", read 2026-11-23)."""
_MAKING_US = 3600 * 1_000_000
LOOK_S = 1.0


class Keeper:
    """Looks once a second and when a batch is cancelled. Any number of processes may do so."""

    def __init__(self, store: Store, owners: Owners, *, clock: Clock, ids: NewId) -> None:
        self._store = store
        self._owners = owners
        self._clock = clock
        self._ids = ids

    async def run(self) -> None:
        """For ever."""
        await watching(self._store, WAKE, self.look, LOOK_S, "batches")

    async def look(self) -> None:
        """Once."""
        active, untidy = await self._store.look(self._seen)
        if active:
            await self._free()
        over = [row for row in active if self._is_over(row)]
        for row in over:
            with alone(f"the end of {row.id}"):
                await self._settle(row.id)
        if over:  # what has come to its end just now can be tidied too
            _, untidy = await self._store.look(self._seen)
        for batch_id, what, steps in untidy:
            with alone(f"tidying {batch_id}"):
                await self._remove(batch_id, what, steps)

    async def _seen(self, connection: Connection) -> tuple[list[BatchRow], list[batch_work.Untidy]]:
        now_us = self._clock.now_us()
        old_us, unmade_us = now_us - KEPT_US, now_us - _MAKING_US
        untidy = await batch_work.untidy(connection, kept_before_us=old_us, made_before_us=unmade_us)
        return await batch_work.active(connection), untidy

    def _is_over(self, row: BatchRow) -> bool:
        return row.status == "canceling" or self._clock.now_us() >= row.expires_us or row.finished >= row.total

    async def _settle(self, batch_id: str) -> None:
        async def op(connection: Connection) -> bool:
            return await batch_work.settle(connection, batch_id, now_us=self._clock.now_us(), ids=self._ids)

        while await self._store.write(op, wake=[batch_id, WEBHOOKS]):
            pass

    async def _free(self) -> None:
        dead = self._owners.gone()

        async def op(connection: Connection) -> int:
            return await batch_work.free(connection, now_us=self._clock.now_us(), dead=dead)

        freed = await self._store.write(op)
        self._owners.forget(dead)
        if freed:
            log.info("%d item(s) of batches are free again: their server is gone", freed)
            self._store.wakes.signal([WAKE])

    async def _remove(self, batch_id: str, what: str, steps: Iterable[int]) -> None:
        for upto in steps:

            async def op(connection: Connection, upto: int = upto) -> None:
                await batch_work.tidy(connection, batch_id, what, upto)

            await self._store.write(op)

        async def last(connection: Connection) -> None:
            await batch_work.tidied(connection, batch_id, what)

        await self._store.write(last)
