"""Rows of who asks for work: only how many there are is of interest, so a worker is noted once in a while."""

from __future__ import annotations

from collections import OrderedDict

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.clock import Clock
from freehold.store.engine import Store
from freehold.store.tables import environments, work_pollers

SEEN_S = 30
"""Whoever has asked within this time is counted (SDK `beta_self_hosted_work_queue_stats.py`)."""
_NOTED_S = 10
"""A worker that asks every second is written down this seldom."""
_MOST = 1000
"""Workers of one environment that are counted; more would only fill the table."""
_REMEMBERED = 10_000


class Pollers:
    """Those of all environments."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._noted: OrderedDict[tuple[str, str], int] = OrderedDict()

    async def saw(self, environment_id: str, worker_id: str | None) -> None:
        """That worker has asked."""
        now_us = self._clock.now_us()
        if worker_id is None or self._noted.get((environment_id, worker_id), 0) > now_us - _NOTED_S * 1_000_000:
            return

        async def op(connection: AsyncConnection) -> None:
            mine = work_pollers.c.environment_id == environment_id
            old = work_pollers.c.polled_us <= now_us - SEEN_S * 1_000_000
            there = select(environments.c.id).where(environments.c.id == environment_id)
            if (await connection.execute(there.with_for_update(read=True, key_share=True))).first() is None:
                return  # deleted meanwhile
            await connection.execute(delete(work_pollers).where(mine, old))
            if await _count(connection, environment_id, 0) < _MOST:
                await _put(connection, environment_id, worker_id, now_us)

        await self._store.write(op)
        self._noted[environment_id, worker_id] = now_us
        while len(self._noted) > _REMEMBERED:
            self._noted.popitem(last=False)

    async def count(self, connection: AsyncConnection, environment_id: str) -> int:
        """How many have asked lately."""
        return await _count(connection, environment_id, self._clock.now_us() - SEEN_S * 1_000_000)


async def _count(connection: AsyncConnection, environment_id: str, since_us: int) -> int:
    mine = (work_pollers.c.environment_id == environment_id, work_pollers.c.polled_us > since_us)
    return int((await connection.execute(select(func.count()).select_from(work_pollers).where(*mine))).scalar() or 0)


async def _put(connection: AsyncConnection, environment_id: str, worker_id: str, now_us: int) -> None:
    row = {"environment_id": environment_id, "worker_id": worker_id, "polled_us": now_us}
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(work_pollers).values(**row)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["environment_id", "worker_id"], set_={"polled_us": now_us})
    )
