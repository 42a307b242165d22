"""Rows of recordings: calls kept whole, packed. What is inside, `gateway.recording` knows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.call_sums import unname as unname_sums
from freehold.store.engine import Store
from freehold.store.forgetting import SLICE, forget
from freehold.store.keyset import page
from freehold.store.tables import cache_misses, calls, recordings


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
        """Delete the recordings of that user and take the name off the rows of its calls, a slice at a time, and what
        the cache's doctor has quoted of them; how many recordings and calls."""
        mine = (recordings.c.workspace_id == workspace_id, recordings.c.user_id == user_id)
        deleted = await forget(self._store, recordings.c.call_id, *mine)
        unnamed, last = 0, None
        theirs = select(calls.c.started_us, calls.c.id).where(
            calls.c.workspace_id == workspace_id, calls.c.user_id == user_id
        )
        while True:
            some = page(theirs, (calls.c.started_us, calls.c.id), after=last, limit=SLICE, descending=False)
            async with self._store.read() as connection:
                found = (await connection.execute(some)).all()
            if not found:
                break
            last = found[-1]
            unnamed += await self._store.write(_unnaming([row.id for row in found]))
        await self._store.write(lambda connection: unname_sums(connection, workspace_id, user_id))
        return deleted, unnamed

    async def delete_before(self, time_us: int) -> int:
        """Delete those made before that time, a slice at a time; how many."""
        return await forget(self._store, recordings.c.call_id, recordings.c.created_us < time_us)

    async def shrink_to(self, most_bytes: int) -> int:
        """Delete the oldest, a slice at a time, until all together take at most so much; how many."""
        row = recordings.c
        oldest = select(row.created_us, row.call_id, row.size_bytes).order_by(row.created_us, row.call_id).limit(SLICE)
        async with self._store.read() as connection:
            over = int((await connection.execute(select(func.coalesce(func.sum(row.size_bytes), 0)))).scalar_one())
        over, deleted = over - most_bytes, 0
        while over > 0:
            async with self._store.read() as connection:
                found = (await connection.execute(oldest)).all()
            going: list[str] = []
            while over > 0 and len(going) < len(found):
                over -= found[len(going)].size_bytes
                going.append(found[len(going)].call_id)
            if not going:
                break
            deleted += await forget(self._store, row.call_id, row.call_id.in_(going))
        return deleted


def _unnaming(call_ids: Sequence[str]) -> Callable[[AsyncConnection], Awaitable[int]]:
    async def op(connection: AsyncConnection) -> int:
        quoted = update(cache_misses).where(cache_misses.c.call_id.in_(call_ids))
        await connection.execute(quoted.values(before="", after=""))
        return (await connection.execute(update(calls).where(calls.c.id.in_(call_ids)).values(user_id=None))).rowcount

    return op
