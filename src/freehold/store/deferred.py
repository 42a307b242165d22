"""Calls that may be answered later: held, handed to a batch, asked after all, done. Each has one answer.

States: `held` (nobody works on it), `sent` (it is an item of a batch), `done`. A call that is asked interactively stays
in its state under a lease; whoever answers first writes the answer, and the other finds it done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    and_,
    bindparam,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import NotFound
from freehold.store.batch_statements import COUNTED
from freehold.store.batches import WAKE as BATCHES
from freehold.store.batches import BatchRow
from freehold.store.engine import Store
from freehold.store.forgetting import forget
from freehold.store.leases import database_now
from freehold.store.tables import batch_items, batch_requests, batch_results, batches, deferred_calls
from freehold.store.webhooks import announce

WAKE = "deferred"
KIND = "deferred"
"""The kind of the batches that are made of such calls."""
LEASE_S = 20.0
"""Whoever asks renews it at each look."""


@dataclass(frozen=True, slots=True)
class DeferredRow:
    """One call; see `store/tables.py` for what each field is."""

    id: str
    workspace_id: str
    key_id: str
    headers: str
    prefix: str
    params: bytes
    created_us: int
    deadline_us: int
    state: str = "held"
    batch_id: str | None = None
    idx: int | None = None
    promoted: bool = False
    lease_until_us: int = 0
    status: int | None = None
    answer: bytes | None = None
    via: str | None = None
    ended_us: int | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A call that waits to be sent, without its params."""

    id: str
    workspace_id: str
    key_id: str
    headers: str
    prefix: str
    size_bytes: int
    created_us: int
    deadline_us: int


@dataclass(frozen=True, slots=True)
class Ended:
    """What a batch gave for a call: the state of its item, and its line of the results."""

    id: str
    item_state: str
    line: bytes | None


_SENDING = (
    update(deferred_calls)
    .where(deferred_calls.c.id == bindparam("of_call"))
    .values(state="sent", batch_id=bindparam("of_batch"), idx=bindparam("place"))
)
_COLUMNS = [deferred_calls.c[field.name] for field in fields(DeferredRow)]


class DeferredRows:
    """Such calls of all workspaces; every call of a client names the one that it may see."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, row: DeferredRow) -> None:
        """Insert."""

        async def op(connection: AsyncConnection) -> None:
            await connection.execute(insert(deferred_calls).values(**asdict(row)))

        await self._store.write(op, wake=[WAKE])

    async def get(self, workspace_id: str, call_id: str) -> DeferredRow:
        """Raises `NotFound`."""
        call = deferred_calls.c
        query = select(*_COLUMNS).where(call.id == call_id, call.workspace_id == workspace_id)
        async with self._store.read() as connection:
            found = (await connection.execute(query)).first()
        if found is None:
            raise NotFound(f"There is no deferred call {call_id[:80]!r}.")
        return _row(found)

    async def any_open(self) -> bool:
        """Whether any call waits for an answer."""
        query = select(literal(1)).where(deferred_calls.c.state.in_(("held", "sent"))).limit(1)

        async def op(connection: AsyncConnection) -> bool:
            return (await connection.execute(query)).first() is not None

        return await self._store.look(op)

    async def held(self, most: int) -> list[Held]:
        """Those that nobody works on, oldest first."""
        call = deferred_calls.c
        names = [call[field.name] for field in fields(Held) if field.name != "size_bytes"]
        query = select(*names, func.length(call.params).label("size_bytes")).where(
            call.state == "held", call.promoted.is_(False)
        )
        async with self._store.read() as connection:
            found = await connection.execute(query.order_by(call.created_us).limit(most))
            return [Held(**row._mapping) for row in found]

    async def send(self, batch: BatchRow, calls: Sequence[Held]) -> bool:
        """Make a batch of them, in their order, in one transaction; false, and nothing happens, if one of them is held
        no more."""
        ids = [one.id for one in calls]
        items = [(batch.id, i, one.id, i, one.size_bytes, "queued", 0, 0, None, None, 0) for i, one in enumerate(calls)]
        places = [{"of_call": one.id, "of_batch": batch.id, "place": i} for i, one in enumerate(calls)]

        async def op(connection: AsyncConnection) -> bool:
            call = deferred_calls.c
            free = select(call.id).where(call.id.in_(ids), call.state == "held", call.promoted.is_(False))
            if len((await connection.execute(free.with_for_update())).all()) < len(ids):
                return False
            await connection.execute(insert(batches).values(**asdict(batch)))
            await self._store.insert_rows(connection, batch_items, items)
            await connection.execute(_SENDING, places)
            copied = select(call.batch_id, call.idx, call.params).where(call.batch_id == batch.id)
            await connection.execute(insert(batch_requests).from_select(["batch_id", "idx", "params"], copied))
            return True

        return await self._store.write(op, wake=[WAKE, BATCHES])

    async def ended(self, most: int) -> list[Ended]:
        """Calls whose items in batches have come to an end."""
        call, item = deferred_calls.c, batch_items.c
        one = and_(item.batch_id == call.batch_id, item.idx == call.idx)
        line = and_(batch_results.c.batch_id == call.batch_id, batch_results.c.idx == call.idx)
        query = (
            select(call.id, item.state.label("item_state"), batch_results.c.line)
            .select_from(deferred_calls.join(batch_items, one).outerjoin(batch_results, line))
            .where(call.state == "sent", item.state.in_(COUNTED))
            .limit(most)
        )
        async with self._store.read() as connection:
            found = await connection.execute(query)
            return [Ended(row.id, row.item_state, None if row.line is None else bytes(row.line)) for row in found]

    async def promote(self, ids: Sequence[str]) -> None:
        """They are to be asked interactively now."""

        async def op(connection: AsyncConnection) -> None:
            call = deferred_calls.c
            await connection.execute(
                update(deferred_calls).where(call.id.in_(ids), call.state == "held").values(promoted=True)
            )

        await self._store.write(op)

    async def renew(self, ids: Sequence[str], now_us: int) -> None:
        """We are still asking these."""

        async def op(connection: AsyncConnection) -> None:
            until = _now(connection, now_us) + round(LEASE_S * 1_000_000)
            await connection.execute(
                update(deferred_calls).where(deferred_calls.c.id.in_(ids)).values(lease_until_us=until)
            )

        await self._store.write(op)

    async def take_due(self, before_us: int, *, now_us: int, most: int) -> list[DeferredRow]:
        """Calls whose deadline is before then and that nobody asks yet; to be asked by us, under a lease."""

        async def op(connection: AsyncConnection) -> list[DeferredRow]:
            call, now = deferred_calls.c, _now(connection, now_us)
            due = or_(call.deadline_us <= before_us, call.promoted)
            picked = (
                select(call.id)
                .where(call.state != "done", due, call.lease_until_us <= now)
                .order_by(call.deadline_us)
                .limit(most)
                .with_for_update(skip_locked=True)
            )
            ids = list((await connection.execute(picked)).scalars())
            if not ids:
                return []
            until = now + round(LEASE_S * 1_000_000)
            taken = update(deferred_calls).where(call.id.in_(ids)).values(promoted=True, lease_until_us=until)
            return [_row(row) for row in await connection.execute(taken.returning(*_COLUMNS))]

        return await self._store.write(op)

    async def back(self, call_id: str) -> None:
        """A batch has not answered it (expired, cancelled): it is to be asked."""
        await self._change(call_id, state="held", batch_id=None, idx=None, promoted=True)

    async def free(self, call_id: str) -> None:
        """We could not ask it now: somebody may."""
        await self._change(call_id, lease_until_us=0)

    async def finish(self, call_id: str, status: int, answer: bytes, via: str, now_us: int) -> bool:
        """Write its answer, unless it has one; whether it was ours."""

        async def op(connection: AsyncConnection) -> bool:
            call = deferred_calls.c
            values = {
                "state": "done",
                "status": status,
                "answer": answer,
                "via": via,
                "ended_us": now_us,
                "params": b"",
            }
            finished = await connection.execute(
                update(deferred_calls)
                .where(call.id == call_id, call.state != "done")
                .values(**values)
                .returning(call.workspace_id)
            )
            workspace_id = finished.scalar_one_or_none()
            if workspace_id is None:
                return False
            await announce(connection, workspace_id, "deferred.ended", call_id, now_us=now_us)
            return True

        return await self._store.write(op, wake=[call_id])

    async def took_us(self, most: int) -> list[int]:
        """How long the newest batches of such calls took."""
        row = batches.c
        query = select(row.ended_us - row.created_us).where(row.kind == KIND, row.ended_us.is_not(None))
        async with self._store.read() as connection:
            return list((await connection.execute(query.order_by(row.ended_us.desc()).limit(most))).scalars())

    async def open(self, workspace_id: str) -> int:
        """How many calls of the workspace wait for an answer."""
        call = deferred_calls.c
        query = select(func.count()).where(call.workspace_id == workspace_id, call.state != "done")
        async with self._store.read() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def forget(self, before_us: int) -> None:
        """Delete calls that ended before then, a slice at a time."""
        await forget(self._store, deferred_calls.c.id, deferred_calls.c.ended_us < before_us)

    async def _change(self, call_id: str, **values: object) -> None:
        async def op(connection: AsyncConnection) -> None:
            call = deferred_calls.c
            await connection.execute(
                update(deferred_calls).where(call.id == call_id, call.state != "done").values(**values)
            )

        await self._store.write(op, wake=[WAKE])


def _row(found: Row[Any]) -> DeferredRow:
    """Drivers give memory views on large values."""
    row = DeferredRow(**found._mapping)
    return replace(row, params=bytes(row.params), answer=None if row.answer is None else bytes(row.answer))


def _now(connection: AsyncConnection, now_us: int) -> ColumnElement[int]:
    return database_now(connection.dialect.name, literal(now_us, BigInteger()))
