"""Message batches as their clients see them: made, listed, cancelled, deleted, read. The work itself: `batch_work.py`.

A batch is hidden (`creating`) until all of its items are there. What belongs to an item stands in three tables, so that
its state can change often without its params or its result being written again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from sqlalchemy import Integer, Row, Select, String, and_, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import Conflict, NotFound
from freehold.store.engine import Store
from freehold.store.keyset import page as page_of
from freehold.store.tables import batch_chunks, batch_items, batch_requests, batch_results, batches

WAKE = "batches"
"""The key that is signalled when some batch needs work."""
RESULT_PAGE_BYTES = 2 << 20
"""About how much of the results is in memory at once."""
_RESULT_PAGE_ROWS = 2_000
Engine = Literal["local", "upstream"]
SHOWN = ("in_progress", "canceling", "ended")


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One batch; see `store/tables.py` for what each field is."""

    id: str
    workspace_id: str
    key_id: str
    engine: str
    headers: str
    total: int
    size_bytes: int
    created_us: int
    expires_us: int
    kind: str = ""
    forecast: str | None = None
    status: str = "creating"
    holds: str = "requests"
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cost_nanodollars: int = 0
    cache_saved_nanodollars: int = 0
    unpriced: int = 0
    paused_why: str | None = None
    cancel_us: int | None = None
    ended_us: int | None = None

    @property
    def finished(self) -> int:
        """How many items have come to an end, whichever."""
        return self.succeeded + self.errored + self.canceled + self.expired


COLUMNS = [batches.c[field.name] for field in fields(BatchRow)]


@dataclass(frozen=True, slots=True)
class NewItem:
    """One request of a batch as it came in."""

    idx: int
    custom_id: str
    params: bytes
    turn: int


class BatchRows:
    """Batches of all workspaces; every call of a client names the workspace that it may see."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def begin(self, row: BatchRow) -> None:
        """Insert the batch, hidden still."""

        async def op(connection: AsyncConnection) -> None:
            await connection.execute(insert(batches).values(**asdict(row)))

        await self._store.write(op)

    async def add(self, batch_id: str, items: Sequence[NewItem]) -> None:
        """Insert some of its items."""
        states = [(batch_id, i.idx, i.custom_id, i.turn, len(i.params), "queued", 0, 0, None, None, 0) for i in items]
        requests = [(batch_id, item.idx, item.params) for item in items]

        async def op(connection: AsyncConnection) -> None:
            await self._store.insert_rows(connection, batch_items, states)
            await self._store.insert_rows(connection, batch_requests, requests)

        await self._store.write(op)

    async def start(self, batch_id: str) -> None:
        """All items are there: show the batch and let it be worked on."""
        await self._set(batch_id, status="in_progress")

    async def forget(self, batch_id: str) -> None:
        """It could not be taken in whole: what is there of it is tidied away."""
        await self._set(batch_id, status="deleted")

    async def get(self, workspace_id: str, batch_id: str) -> BatchRow:
        """Raises `NotFound`."""
        async with self._store.read() as connection:
            return await _find(connection, workspace_id, batch_id)

    async def page(
        self, workspace_id: str, *, after: tuple[int, str] | None, limit: int, newest_first: bool = True
    ) -> list[BatchRow]:
        """Up to `limit` + 1 of them behind `after` (time of making and id)."""
        query = select(*COLUMNS).where(batches.c.workspace_id == workspace_id, batches.c.status.in_(SHOWN))
        keys = (batches.c.created_us, batches.c.id)
        async with self._store.read() as connection:
            found = await connection.execute(page_of(query, keys, after=after, limit=limit, descending=newest_first))
            return [row_of(row) for row in found]

    async def cancel(self, workspace_id: str, batch_id: str, now_us: int) -> BatchRow:
        """Begin to cancel; a batch that has ended or is being cancelled stays as it is. Raises `NotFound`."""

        async def op(connection: AsyncConnection) -> BatchRow:
            running = and_(batches.c.id == batch_id, batches.c.workspace_id == workspace_id)
            await connection.execute(
                update(batches)
                .where(running, batches.c.status == "in_progress")
                .values(status="canceling", cancel_us=now_us)
            )
            await connection.execute(update(batch_chunks).where(batch_chunks.c.batch_id == batch_id).values(next_us=0))
            return await _find(connection, workspace_id, batch_id)

        return await self._store.write(op, wake=[WAKE, batch_id])

    async def resume(self, workspace_id: str, batch_id: str) -> BatchRow:
        """Let a paused batch go on. Raises `NotFound`."""

        async def op(connection: AsyncConnection) -> BatchRow:
            mine = and_(batches.c.id == batch_id, batches.c.workspace_id == workspace_id)
            await connection.execute(update(batches).where(mine).values(paused_why=None))
            return await _find(connection, workspace_id, batch_id)

        return await self._store.write(op, wake=[WAKE, batch_id])

    async def delete(self, workspace_id: str, batch_id: str) -> None:
        """Hide it for good; it is tidied away later. Raises `NotFound`, and `Conflict` unless it has ended."""

        async def op(connection: AsyncConnection) -> None:
            row = await _find(connection, workspace_id, batch_id)
            if row.status != "ended":
                raise Conflict(f"Message batch {batch_id} is still processing: cancel it, and wait until it has ended.")
            await connection.execute(update(batches).where(batches.c.id == batch_id).values(status="deleted"))

        await self._store.write(op, wake=[WAKE])

    async def leased(self, batch_id: str) -> int:
        """How many of its items are in flight."""
        query = select(func.count()).where(batch_items.c.batch_id == batch_id, batch_items.c.state == "leased")
        async with self._store.read() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def results(self, batch_id: str) -> AsyncIterator[list[tuple[str, str, bytes | None]]]:
        """(custom_id, state, line) of every item in order, in pages of bounded size; the line is `None` where the item
        was cancelled or has expired."""
        last, rows, most = -1, 0, 50
        while True:
            async with self._store.read() as connection:
                found = (await connection.execute(_RESULTS, {"batch": batch_id, "last": last, "most": most})).all()
            if found:
                yield [(row.custom_id, row.state, row.line) for row in found]
                last, rows = found[-1].idx, len(found)
            if len(found) < most:
                return
            average = 1 + sum(len(row.line or b"") for row in found) // rows
            most = max(1, min(_RESULT_PAGE_ROWS, RESULT_PAGE_BYTES // average))

    async def _set(self, batch_id: str, *, status: str) -> None:
        async def op(connection: AsyncConnection) -> None:
            await connection.execute(update(batches).where(batches.c.id == batch_id).values(status=status))

        await self._store.write(op, wake=[WAKE, batch_id])


def row_of(row: Row[Any]) -> BatchRow:
    """The batch of a row of `COLUMNS`."""
    return BatchRow(**row._mapping)


async def _find(connection: AsyncConnection, workspace_id: str, batch_id: str) -> BatchRow:
    query = select(*COLUMNS).where(
        batches.c.id == batch_id, batches.c.workspace_id == workspace_id, batches.c.status.in_(SHOWN)
    )
    found = (await connection.execute(query)).first()
    if found is None:
        raise NotFound(f"There is no message batch {batch_id[:80]!r}.")
    return row_of(found)


def _results() -> Select[Any]:
    same = and_(batch_results.c.batch_id == batch_items.c.batch_id, batch_results.c.idx == batch_items.c.idx)
    return (
        select(batch_items.c.idx, batch_items.c.custom_id, batch_items.c.state, batch_results.c.line)
        .select_from(batch_items.outerjoin(batch_results, same))
        .where(batch_items.c.batch_id == bindparam("batch", type_=String))
        .where(batch_items.c.idx > bindparam("last", type_=Integer))
        .order_by(batch_items.c.idx)
        .limit(bindparam("most", type_=Integer))
    )


_RESULTS = _results()
