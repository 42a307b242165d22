"""The accounts of budgets and who holds what of them: the SQL of the escrow protocol (`ledger/protocol.py`).

Every function runs inside the writer's transaction. Accounts are locked in the order of their ids before anything is
changed, so that two processes never wait for each other. The database itself holds the invariant, by a CHECK.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, insert, select, text, true, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.keyset import page
from freehold.store.tables import budget_accounts, budget_escrows, budget_holders, budgets, lost_calls

_A = budget_accounts.c
_E = budget_escrows.c
_MOST_VARIABLES = 5_000
_TURN = 7_298_165_021
"""Of all locks by number in our database; the migrations have the one before."""
"""In one statement; both databases take some 32,000."""


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account that may not exist yet."""

    id: str
    budget_id: str
    scope_id: str
    started_us: int
    until_us: int | None
    hard: bool


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One account as it stands."""

    id: str
    budget_id: str
    scope_id: str
    started_us: int
    until_us: int | None
    hard: bool
    amount: int
    ceiling: int
    settled: int
    escrowed: int
    lost: int
    overrun: int
    alerted_us: int | None


@dataclass(frozen=True, slots=True)
class Delta:
    """What one commit does to one account, and to the escrow that the holder has of it at `position`."""

    account_id: str
    position: int
    drawn: int = 0
    returned: int = 0
    settled: int = 0
    consumed: int = 0
    lost: int = 0
    overrun: int = 0


@dataclass(frozen=True, slots=True)
class EscrowRow:
    """What a holder has of an account."""

    position: int
    account_id: str
    amount: int


@dataclass(frozen=True, slots=True)
class LostCall:
    """A call that may have been billed: nobody knows, so its bound stays reserved."""

    request_id: str
    account_id: str
    amount: int
    model: str | None
    reason: str
    state: str
    noted_us: int


class Overdrawn(Exception):
    """A guarded draw did not find the room that was seen under the same lock: a defect, nothing was written."""


async def take_turn(conn: AsyncConnection) -> None:
    """One ledger transaction at a time, over all processes: call it first in each that locks rows of the ledger.

    A process that asks others for their idle escrow locks their rows while it holds accounts, and they do the same; on
    PostgreSQL that is a deadlock unless they take turns. SQLite has one writer at a time anyway.
    """
    if conn.dialect.name == "postgresql":
        await conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _TURN})


# Holders.


async def open_holder(conn: AsyncConnection, holder_id: str, host: str, now_us: int) -> None:
    """A server process begins."""
    values = {"id": holder_id, "host": host, "started_us": now_us, "batch": 0, "recall": 0}
    await conn.execute(insert(budget_holders), values)


async def begin_batch(conn: AsyncConnection, holder_id: str, batch: int) -> bool:
    """Count this commit; false if this very one has happened already and only its answer was lost."""
    await take_turn(conn)
    counted = update(budget_holders).where(budget_holders.c.id == holder_id, budget_holders.c.batch == batch - 1)
    return (await conn.execute(counted.values(batch=batch))).rowcount == 1


async def last_batch(conn: AsyncConnection, holder_id: str) -> int | None:
    """The number of its last commit, locked; `None`: there is no such holder (any more)."""
    await take_turn(conn)
    found = select(budget_holders.c.batch).where(budget_holders.c.id == holder_id).with_for_update()
    return (await conn.execute(found)).scalar_one_or_none()


async def close_holder(conn: AsyncConnection, holder_id: str) -> None:
    """It is gone, and all it held was given back or is kept by lost calls."""
    await take_turn(conn)
    await conn.execute(delete(budget_escrows).where(_E.holder_id == holder_id))
    await conn.execute(delete(budget_holders).where(budget_holders.c.id == holder_id))


async def recall(conn: AsyncConnection, holder_id: str) -> None:
    """Ask every other holder to give back what is idle."""
    await take_turn(conn)
    others = update(budget_holders).where(budget_holders.c.id != holder_id)
    await conn.execute(others.values(recall=budget_holders.c.recall + 1))


async def recalls(conn: AsyncConnection, holder_id: str) -> int:
    """How often others have asked this one so far."""
    found = select(budget_holders.c.recall).where(budget_holders.c.id == holder_id)
    return (await conn.execute(found)).scalar_one_or_none() or 0


async def escrows(conn: AsyncConnection, holder_id: str) -> list[EscrowRow]:
    """All that a holder has."""
    found = select(_E.position, _E.account_id, _E.amount).where(_E.holder_id == holder_id)
    return [EscrowRow(*row) for row in await conn.execute(found)]


async def held(conn: AsyncConnection, holder_id: str, positions: Collection[int]) -> dict[int, int]:
    """What a holder has at these positions."""
    wanted = _E.position.in_(positions) if len(positions) <= _MOST_VARIABLES else true()
    found = select(_E.position, _E.amount).where(_E.holder_id == holder_id, wanted)
    return {row.position: row.amount for row in await conn.execute(found)}


# Accounts.


async def open_accounts(conn: AsyncConnection, holder_id: str, new: Sequence[tuple[int, NewAccount]]) -> None:
    """Make the accounts that are not there, and let the holder have nothing of each at its position."""
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    ids = {account.budget_id for _, account in new}
    # The limit as it is now, and no other until we are done: whoever changes it locks the budget first.
    limits = select(budgets.c.id, budgets.c.amount).where(budgets.c.id.in_(ids)).order_by(budgets.c.id)
    amounts = {row.id: row.amount for row in await conn.execute(limits.with_for_update(read=True))}
    rows = [
        {name: getattr(account, name) for name in NewAccount.__slots__} | {"amount": amount, "ceiling": amount}
        for _, account in sorted(new, key=lambda one: one[1].id)
        for amount in (amounts[account.budget_id],)
    ]
    await conn.execute(dialect.insert(budget_accounts).on_conflict_do_nothing(), rows)
    holding = [
        {"holder_id": holder_id, "position": position, "account_id": account.id, "amount": 0}
        for position, account in new
    ]
    await conn.execute(dialect.insert(budget_escrows).on_conflict_do_nothing(), holding)


async def drop_escrows(conn: AsyncConnection, holder_id: str, positions: Collection[int]) -> None:
    """The holder has no use for these any more; it holds nothing of them."""
    gone = delete(budget_escrows).where(_E.holder_id == holder_id, _E.position.in_(positions), _E.amount == 0)
    await conn.execute(gone)


async def lock(conn: AsyncConnection, ids: Collection[str]) -> dict[str, AccountRow]:
    """These accounts as they stand now, until the end of the transaction."""
    locked: dict[str, AccountRow] = {}
    ordered = sorted(ids)
    for at in range(0, len(ordered), _MOST_VARIABLES):
        some = _A.id.in_(ordered[at : at + _MOST_VARIABLES])
        found = select(budget_accounts).where(some).order_by(_A.id).with_for_update()
        locked |= {row.id: AccountRow(**row._mapping) for row in await conn.execute(found)}
    return locked


_DRAW = (
    update(budget_accounts)
    .where(_A.id == bindparam("account"), _A.settled + _A.escrowed + bindparam("slice") <= _A.amount)
    .values(escrowed=_A.escrowed + bindparam("slice"))
)
_MOVE = (
    update(budget_accounts)
    .where(_A.id == bindparam("account"))
    .values(
        settled=_A.settled + bindparam("cost"),
        escrowed=_A.escrowed - bindparam("out"),
        lost=_A.lost + bindparam("kept"),
        overrun=_A.overrun + bindparam("over"),
    )
)
_HOLD = (
    update(budget_escrows)
    .where(_E.holder_id == bindparam("holder"), _E.position == bindparam("at"))
    .values(amount=_E.amount + bindparam("by"))
)


async def apply(conn: AsyncConnection, holder_id: str, deltas: Sequence[Delta]) -> None:
    """Change the accounts and what the holder has of them. First what gives room, then what takes it.

    Raises:
        Overdrawn: there is less room than was drawn.
    """
    moves = [
        {
            "account": one.account_id,
            "cost": one.settled,
            "out": one.consumed + one.returned,
            "kept": one.lost,
            "over": one.overrun,
        }
        for one in deltas
        if one.settled or one.consumed or one.returned or one.lost
    ]
    if moves:
        await conn.execute(_MOVE, moves)
    for one in deltas:
        if one.drawn:
            drawn = await conn.execute(_DRAW, {"account": one.account_id, "slice": one.drawn})
            if drawn.rowcount != 1:
                raise Overdrawn(one.account_id)
    holds = [{"holder": holder_id, "at": one.position, "by": by} for one in deltas if (by := _by(one))]
    if holds:
        await conn.execute(_HOLD, holds)


def _by(one: Delta) -> int:
    return one.drawn - one.returned - one.consumed - one.lost


async def alert(conn: AsyncConnection, ids: Collection[str], now_us: int) -> list[AccountRow]:
    """Those soft accounts among `ids` that are at their limit and were not alerted of; now they are."""
    due = (_A.id.in_(ids), _A.hard.is_(False), _A.alerted_us.is_(None), _A.settled >= _A.amount)
    noted = update(budget_accounts).where(*due).values(alerted_us=now_us).returning(*budget_accounts.c)
    return [AccountRow(**row._mapping) for row in await conn.execute(noted)]


async def set_limit(conn: AsyncConnection, budget_id: str, amount: int, from_us: int) -> None:
    """Another limit for all accounts of a budget whose period is not over. What is out already stays out."""
    mine = (_A.budget_id == budget_id, (_A.until_us.is_(None)) | (_A.until_us > from_us))
    ids = [row.id for row in await conn.execute(select(_A.id).where(*mine).order_by(_A.id).with_for_update())]
    out = _A.settled + _A.escrowed - _A.overrun
    if conn.dialect.name == "postgresql":
        ceiling = func.greatest(amount, func.least(_A.ceiling, out))
    else:
        ceiling = func.max(amount, func.min(_A.ceiling, out))
    await conn.execute(update(budget_accounts).where(_A.id.in_(ids)).values(amount=amount, ceiling=ceiling))


async def of_budgets(conn: AsyncConnection, budget_ids: Collection[str], now_us: int) -> list[AccountRow]:
    """The accounts of these budgets whose period is running, most spent first, a thousand at most."""
    running = (_A.budget_id.in_(budget_ids), _A.started_us <= now_us, (_A.until_us.is_(None)) | (_A.until_us > now_us))
    found = select(budget_accounts).where(*running).order_by(_A.settled.desc(), _A.id).limit(1_000)
    return [AccountRow(**row._mapping) for row in await conn.execute(found)]


# Lost calls.


async def add_lost(conn: AsyncConnection, calls: Sequence[LostCall]) -> None:
    """Note them; one that is there already keeps what it was."""
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    rows: list[Mapping[str, object]] = [{name: getattr(one, name) for name in LostCall.__slots__} for one in calls]
    if rows:
        await conn.execute(dialect.insert(lost_calls).on_conflict_do_nothing(), rows)


async def lost(
    conn: AsyncConnection, budget_id: str, *, limit: int, after: tuple[int, str] | None = None
) -> list[LostCall]:
    """Lost calls of a budget, newest first."""
    of_budget = select(_A.id).where(_A.budget_id == budget_id)
    found = select(lost_calls).where(lost_calls.c.account_id.in_(of_budget))
    found = page(found, (lost_calls.c.noted_us, lost_calls.c.request_id), after=after, limit=limit)
    return [LostCall(**row._mapping) for row in await conn.execute(found)]


async def release(conn: AsyncConnection, budget_id: str, request_id: str) -> int:
    """Somebody has found out that it was not billed: what it kept is free again. Gives how much that is in all."""
    of_budget = select(_A.id).where(_A.budget_id == budget_id)
    mine = (
        lost_calls.c.request_id == request_id,
        lost_calls.c.account_id.in_(of_budget),
        lost_calls.c.state == "possibly_billed",
    )
    freed = update(lost_calls).where(*mine).values(state="released")
    rows = list(await conn.execute(freed.returning(lost_calls.c.account_id, lost_calls.c.amount)))
    for account_id, amount in sorted(rows):
        back = {"escrowed": _A.escrowed - amount, "lost": _A.lost - amount}
        await conn.execute(update(budget_accounts).where(_A.id == account_id).values(**back))
    return sum(amount for _, amount in rows)


@dataclass(frozen=True, slots=True)
class Sums:
    """One account, and what all holders have of it; for whoever checks the ledger."""

    account_id: str
    settled: int
    escrowed: int
    held: int
    lost: int
    slack: int
    """What is left below the ceiling: never below 0 where the budget is hard."""
    hard: bool


async def sums(conn: AsyncConnection) -> list[Sums]:
    """Every account, at one moment."""
    holding = select(_E.account_id, func.sum(_E.amount).label("amount")).group_by(_E.account_id).subquery("holding")
    held_of = func.coalesce(holding.c.amount, 0)
    slack = _A.ceiling + _A.overrun - _A.settled - _A.escrowed
    found = select(_A.id, _A.settled, _A.escrowed, held_of, _A.lost, slack, _A.hard)
    found = found.join_from(budget_accounts, holding, _A.id == holding.c.account_id, isouter=True)
    rows = await conn.execute(found)
    return [Sums(row[0], row[1], row[2], int(row[3]), row[4], row[5], bool(row[6])) for row in rows]
