"""Working on batches: claims by lease, completions under it, and what brings a batch to its end.

Rules, held here and nowhere else:

1. A claim takes items that nobody has and raises their attempt; two processes never get the same attempt of an item.
2. A completion names owner and attempt. An item that is not leased under them is passed over: its result is somebody
   else's now. The state, the result (whose key is the item) and the batch's counts change in one transaction, so there
   is exactly one result an item, whatever dies.
3. A batch ends in the transaction that makes its counts full, and there its webhook is queued.

Items are locked before their batch, in the order of their places. Leases run by the database's clock on PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, ColumnElement, delete, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.ids import NewId
from freehold.store.batch_statements import (
    COUNTED,
    FINISHING,
    HELD,
    PARAMS_BETWEEN,
    PARAMS_OF,
    PUTTING_BACK,
    SUMMED,
    SUMMING,
    taking,
)
from freehold.store.batches import COLUMNS, BatchRow, row_of
from freehold.store.engine import Store
from freehold.store.leases import LEASE_S, database_now
from freehold.store.tables import batch_items, batch_requests, batch_results, batches
from freehold.store.webhooks import announce

AT_ONCE = 2_000
BYTES_AT_ONCE = 8 << 20
"""Items of a batch, and of what belongs to them, that one write closes or removes: nobody is held up for long."""
RUNNING = ("in_progress", "canceling")
FINAL = COUNTED
UPSTREAM_GRACE_US = 2 * 3600 * 1_000_000
"""A batch at the upstream has its own 24 hours, which begin a little later; its end is waited for."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """An item that is ours until its lease runs out."""

    batch_id: str
    idx: int
    custom_id: str
    attempt: int
    failures: int
    size_bytes: int
    turn: int


@dataclass(frozen=True, slots=True)
class Done:
    """An item that is finished, its line of the results, what it used and cost.

    `state` is `succeeded` or `errored`, or, from an upstream's batch, `canceled` or `expired`, which have no line.
    """

    idx: int
    attempt: int
    state: str
    line: bytes
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cost_nanodollars: int | None = 0
    """`None`: its price is not known."""
    latency_ms: int | None = None
    """`None`: nobody measured it."""
    cache_saved_nanodollars: int = 0
    """What the cache spared it, less what it paid to write there."""


@dataclass(frozen=True, slots=True)
class Again:
    """An item to be claimed again, not before that time. `failures` is how often it has failed by now."""

    idx: int
    attempt: int
    not_before_us: int
    failures: int


async def active(connection: AsyncConnection) -> list[BatchRow]:
    """Every batch that has not ended, oldest first."""
    query = select(*COLUMNS).where(batches.c.status.in_(RUNNING)).order_by(batches.c.created_us, batches.c.id)
    return [row_of(row) for row in await connection.execute(query)]


async def claim(
    connection: AsyncConnection, batch_id: str, owner: str, *, limit: int, now_us: int, lease_s: float = LEASE_S
) -> list[Claimed]:
    """Take up to `limit` items that are queued and due, in order. Those that another process is taking are passed over
    (PostgreSQL: SKIP LOCKED; SQLite has one writer at a time)."""
    values = {"batch": batch_id, "of_owner": owner, "now": now_us, "lease": round(lease_s * 1_000_000), "most": limit}
    taken = await connection.execute(taking(connection.dialect.name), values)
    return sorted((Claimed(batch_id, *row) for row in taken), key=lambda one: one.turn)


async def params(connection: AsyncConnection, batch_id: str, places: Collection[int]) -> dict[int, bytes]:
    """The params of these items."""
    if not places:
        return {}
    wanted = set(places)
    first, last = min(wanted), max(wanted)
    if last - first < 2 * len(wanted):
        found = await connection.execute(PARAMS_BETWEEN, {"batch": batch_id, "first": first, "last": last})
    else:
        found = await connection.execute(PARAMS_OF, {"batch": batch_id, "places": list(wanted)})
    return {row.idx: bytes(row.params) for row in found if row.idx in wanted}


async def complete(
    store: Store,
    connection: AsyncConnection,
    batch_id: str,
    owner: str,
    done: Sequence[Done],
    again: Sequence[Again],
    *,
    now_us: int,
    ids: NewId,
) -> bool:
    """Finish these items and put those back, as far as they are still ours; whether the batch has ended by that."""
    held = await _held(connection, batch_id, owner, [*(one.idx for one in done), *(one.idx for one in again)])
    kept = [one for one in done if held.get(one.idx) == one.attempt]
    back = [
        {"batch": batch_id, "place": one.idx, "not_before": one.not_before_us, "failed": one.failures}
        for one in again
        if held.get(one.idx) == one.attempt
    ]
    if back:
        await connection.execute(PUTTING_BACK, back)
    return bool(kept) and await finish(store, connection, batch_id, kept, now_us=now_us, ids=ids)


async def finish(
    store: Store, connection: AsyncConnection, batch_id: str, done: Sequence[Done], *, now_us: int, ids: NewId
) -> bool:
    """Finish items that are certainly the caller's, and the batch with the last of them; whether it was that."""
    counts = {}
    for state in FINAL:
        places = [one.idx for one in done if one.state == state]
        counts[state] = len(places)
        if places:
            await connection.execute(FINISHING, {"batch": batch_id, "places": places, "final": state})
    await store.insert_rows(connection, batch_results, [_result(batch_id, one) for one in done if one.line])
    more = {
        **counts,
        "input_tokens": sum(one.input_tokens for one in done),
        "output_tokens": sum(one.output_tokens for one in done),
        "cache_read_tokens": sum(one.cache_read_tokens for one in done),
        "cost_nanodollars": sum(one.cost_nanodollars or 0 for one in done),
        "cache_saved_nanodollars": sum(one.cache_saved_nanodollars for one in done),
        "unpriced": sum(one.cost_nanodollars is None for one in done),
    }
    total, *ended = await _add(connection, batch_id, more)
    return total == sum(ended) and await _end_if_full(connection, batch_id, now_us, ids)


def _result(batch_id: str, one: Done) -> tuple[object, ...]:
    used = (one.input_tokens, one.output_tokens, one.cost_nanodollars, one.latency_ms)
    return (batch_id, one.idx, one.line, *used)


async def settle(connection: AsyncConnection, batch_id: str, *, now_us: int, ids: NewId) -> bool:
    """Cancel what waits in a batch that is being cancelled, let what is not done by its time expire, end it if full.
    At most a slice of its items at once: whether to go on with the next."""
    row = (await connection.execute(select(*COLUMNS).where(batches.c.id == batch_id))).one_or_none()
    if row is None:
        return False
    batch = row_of(row)
    if batch.status not in RUNNING:
        return False
    closing = [("queued", "canceled")] if batch.status == "canceling" else []
    if now_us >= batch.expires_us + (UPSTREAM_GRACE_US if batch.engine == "upstream" else 0):
        closing += [("queued", "expired"), ("leased", "expired")]
    more = False
    for state, reason in closing:
        more = more or await _close(connection, batch_id, state, reason) == AT_ONCE
    await _end_if_full(connection, batch_id, now_us, ids)
    return more


async def renew(
    connection: AsyncConnection, owner: str, held: Mapping[str, Collection[int]], *, now_us: int
) -> dict[str, set[int]]:
    """Renew the leases of these items; gives those that are lost."""
    lost: dict[str, set[int]] = {}
    for batch_id, places in sorted(held.items()):
        item = batch_items.c
        mine = (item.batch_id == batch_id, item.idx.in_(list(places)), item.owner == owner, item.state == "leased")
        kept = await connection.execute(
            update(batch_items)
            .where(*mine)
            .values(lease_until_us=_end(connection, now_us, LEASE_S))
            .returning(item.idx)
        )
        lost[batch_id] = set(places) - set(kept.scalars())
    return lost


async def free(connection: AsyncConnection, *, now_us: int, dead: Collection[str] = ()) -> int:
    """Queue what was leased by the dead, and what nobody has renewed in time; gives how many."""
    item = batch_items.c
    over: ColumnElement[bool] = item.lease_until_us <= _now(connection, now_us)
    if dead:
        over = or_(over, item.owner.in_(list(dead)))
    places = (
        select(item.batch_id, item.idx)
        .where(item.state == "leased", over)
        .order_by(item.batch_id, item.idx)
        .with_for_update(skip_locked=True)
    )
    by_batch: dict[str, list[int]] = {}
    for batch_id, idx in await connection.execute(places):
        by_batch.setdefault(batch_id, []).append(idx)
    for batch_id, found in by_batch.items():
        back = update(batch_items).where(item.batch_id == batch_id, item.idx.in_(found), item.state == "leased")
        await connection.execute(back.values(state="queued", owner=None, lease_until_us=None))
    return sum(map(len, by_batch.values()))


async def give_back(connection: AsyncConnection, owner: str) -> None:
    """Queue all that this owner has: it stops."""
    mine = (batch_items.c.owner == owner, batch_items.c.state == "leased")
    await connection.execute(update(batch_items).where(*mine).values(state="queued", owner=None, lease_until_us=None))


async def pause(connection: AsyncConnection, batch_id: str, why: str) -> None:
    """Claim nothing more of this batch until it is resumed."""
    await connection.execute(update(batches).where(batches.c.id == batch_id).values(paused_why=why))


Untidy = tuple[str, str, range]
"""Of a batch: its id, what is to be removed, up to where one after the other."""


async def untidy(connection: AsyncConnection, *, kept_before_us: int, made_before_us: int) -> list[Untidy]:
    """Batches with something to remove: `requests` of ended ones,
    `results` of those made before `kept_before_us`, `batch` of deleted ones and of those whose making broke off before
    `made_before_us`."""
    row = batches.c
    gone = or_(row.status == "deleted", (row.status == "creating") & (row.created_us < made_before_us))
    old = (row.status == "ended") & (row.created_us < kept_before_us) & (row.holds != "nothing")
    over = (row.status == "ended") & (row.holds == "requests")
    found = []
    for what, condition in (("batch", gone), ("results", old), ("requests", over)):
        query = select(row.id, row.total, row.size_bytes).where(condition).limit(10)
        for batch in await connection.execute(query):
            step = max(1, min(AT_ONCE, batch.total * BYTES_AT_ONCE // max(1, batch.size_bytes)))
            found.append((batch.id, what, range(step, batch.total + step, step)))
    return found


async def tidy(connection: AsyncConnection, batch_id: str, what: str, upto: int) -> None:
    """Remove what belongs to the items before `upto`."""
    tables = {"batch": (batch_requests, batch_results, batch_items), "results": (batch_requests, batch_results)}
    for table in tables.get(what, (batch_requests,)):
        await connection.execute(delete(table).where(table.c.batch_id == batch_id, table.c.idx < upto))


async def tidied(connection: AsyncConnection, batch_id: str, what: str) -> None:
    """All of it is removed: say so."""
    if what == "batch":
        await connection.execute(delete(batches).where(batches.c.id == batch_id))
    else:
        holds = {"results": "nothing", "requests": "results"}[what]
        await connection.execute(update(batches).where(batches.c.id == batch_id).values(holds=holds))


async def _held(connection: AsyncConnection, batch_id: str, owner: str, places: Sequence[int]) -> dict[int, int]:
    """Those of them that are leased by this owner, with their attempt; locked."""
    found = await connection.execute(HELD, {"batch": batch_id, "of_owner": owner, "places": places})
    return {row.idx: row.attempt for row in found}


async def _close(connection: AsyncConnection, batch_id: str, state: str, reason: str) -> int:
    """Close a slice of the items in that state; how many. Those that somebody finishes just now are passed over."""
    item = batch_items.c
    some = select(item.idx).where(item.batch_id == batch_id, item.state == state).limit(AT_ONCE)
    places = list((await connection.execute(some.with_for_update(skip_locked=True))).scalars())
    if places:
        closing = update(batch_items).where(item.batch_id == batch_id, item.idx.in_(places))
        await connection.execute(closing.values(state=reason, owner=None, lease_until_us=None))
        await _add(connection, batch_id, {reason: len(places)})
    return len(places)


async def _add(connection: AsyncConnection, batch_id: str, more: Mapping[str, int]) -> Sequence[int]:
    """Add to the batch's row; gives its total, then each count of its finished items."""
    values = {f"more_{name}": more.get(name, 0) for name in SUMMED}
    return tuple((await connection.execute(SUMMING, {"batch": batch_id, **values})).one())


async def _end_if_full(connection: AsyncConnection, batch_id: str, now_us: int, ids: NewId) -> bool:
    row = batches.c
    full = row.total == row.succeeded + row.errored + row.canceled + row.expired
    ended = await connection.execute(
        update(batches)
        .where(row.id == batch_id, row.status.in_(RUNNING), full)
        .values(status="ended", ended_us=now_us)
        .returning(row.workspace_id)
    )
    workspace_id = ended.scalar_one_or_none()
    if workspace_id is None:
        return False
    await announce(connection, workspace_id, "batch.ended", batch_id, now_us=now_us, ids=ids)
    return True


def _now(connection: AsyncConnection, now_us: int) -> ColumnElement[int]:
    return database_now(connection.dialect.name, literal(now_us, BigInteger()))


def _end(connection: AsyncConnection, now_us: int, lease_s: float) -> ColumnElement[int]:
    return _now(connection, now_us) + round(lease_s * 1_000_000)
