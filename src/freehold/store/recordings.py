"""Rows of recordings: calls kept whole, packed. What is inside, `gateway.recording` knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.call_sums import unname as unname_sums
from freehold.store.engine import Store
from freehold.store.tables import calls, recordings

SLICE = 200
"""Rows deleted in one transaction: never so many that others wait for it."""


@dataclass(frozen=True, slots=True)
class RecordingRow:
    """One call. `call_id` is that of its row in `calls`."""

    call_id: str
    workspace_id: str
    key_id: str
    user_id: str | None
    size_bytes: int
    content: bytes
    created_us: int


class RecordingRows:
    """Recordings of all workspaces; every read by a client names the one that it may see."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, row: RecordingRow) -> None:
        """Insert."""

        async def op(connection: AsyncConnection) -> None:
            await connection.execute(recordings.insert().values(**asdict(row)))

        await self._store.write(op)

    async def get(self, call_id: str) -> bytes | None:
        """The content of that call's recording."""
        async with self._store.read() as connection:
            query = select(recordings.c.content).where(recordings.c.call_id == call_id)
            content: bytes | None = (await connection.execute(query)).scalar()
            return content

    async def forget_user(self, workspace_id: str, user_id: str) -> tuple[int, int]:
        """Delete the recordings of that user and take the name off the rows of its calls; how many of each."""
        mine = (recordings.c.workspace_id == workspace_id) & (recordings.c.user_id == user_id)
        deleted = await self._delete_slices(lambda: select(recordings.c.call_id).where(mine).limit(SLICE))

        async def unname(connection: AsyncConnection) -> int:
            theirs = (calls.c.workspace_id == workspace_id) & (calls.c.user_id == user_id)
            await unname_sums(connection, workspace_id, user_id)
            return (await connection.execute(update(calls).where(theirs).values(user_id=None))).rowcount

        return deleted, await self._store.write(unname)

    async def delete_before(self, time_us: int) -> int:
        """Delete those made before that time; how many."""
        old = recordings.c.created_us < time_us
        return await self._delete_slices(lambda: select(recordings.c.call_id).where(old).limit(SLICE))

    async def shrink_to(self, most_bytes: int) -> int:
        """Delete the oldest until all together take at most so much; how many."""
        deleted = 0
        while await self._total() > most_bytes:
            oldest = select(recordings.c.call_id).order_by(recordings.c.created_us, recordings.c.call_id)
            deleted += await self._delete(oldest.limit(1 + SLICE // 10))
        return deleted

    async def _total(self) -> int:
        async with self._store.read() as connection:
            return int(
                (await connection.execute(select(func.coalesce(func.sum(recordings.c.size_bytes), 0)))).scalar_one()
            )

    async def _delete_slices(self, ids: Callable[[], Select[tuple[str]]]) -> int:
        deleted = 0
        while count := await self._delete(ids()):
            deleted += count
        return deleted

    async def _delete(self, ids: Select[tuple[str]]) -> int:
        async def op(connection: AsyncConnection) -> int:
            found = list((await connection.execute(ids)).scalars())
            if found:
                await connection.execute(delete(recordings).where(recordings.c.call_id.in_(found)))
            return len(found)

        return await self._store.write(op)
