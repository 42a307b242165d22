"""One commit of one process to the accounts: what it settles, gives back and draws, as a single transaction.

It may be tried again when its outcome is not known: its number tells whether it has happened. It runs on the writer's
thread, so it changes nothing but the database; `bank.py` prepares it and takes what came out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from freehold.ledger.protocol import Ask, Change, Standing, decide
from freehold.store import ledger as rows
from freehold.store.alerts import budget_reached
from freehold.store.base import Connection
from freehold.store.ledger import AccountRow, Delta, LostCall, NewAccount


@dataclass(frozen=True, slots=True)
class Touched:
    """One account in a commit."""

    account: str
    position: int
    hard: bool
    change: Change
    """What is settled, lost and returned; what is drawn the commit finds out."""
    new: NewAccount | None = None
    """Set when the database does not know yet that we use it."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What is to be done. `number` is one more than that of the commit before."""

    holder_id: str
    number: int
    touched: Sequence[Touched]
    lost: Sequence[LostCall]
    dropped: Sequence[int]
    """Positions that are not used any more."""
    asks: Sequence[Ask]
    free: dict[str, int]
    """Escrow that was set aside for the asks."""
    now_us: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done."""

    refused_at: Sequence[str | None]
    held: dict[int, int]
    """What we have now, by position."""
    accounts: dict[str, AccountRow]
    """As they stood before, locked."""
    room: dict[str, int] = field(default_factory=dict)
    """What can be drawn now."""
    others: dict[str, int] = field(default_factory=dict)
    """What other processes hold of each account: reserved there, or idle."""
    alerts: Sequence[AccountRow] = ()
    repeated: bool = False
    """It had happened already when it was tried again; the asks were not looked at this time."""


async def run(conn: Connection, commit: Commit) -> Outcome:
    """Do it, inside the writer's transaction."""
    positions = [one.position for one in commit.touched]
    if not await rows.begin_batch(conn, commit.holder_id, commit.number):
        held = await rows.held(conn, commit.holder_id, positions)
        return Outcome([None] * len(commit.asks), held, {}, repeated=True)
    if new := [(one.position, one.new) for one in commit.touched if one.new is not None]:
        await rows.open_accounts(conn, commit.holder_id, new)
    accounts = await rows.lock(conn, [one.account for one in commit.touched])
    before = await rows.held(conn, commit.holder_id, positions)
    standings = {one.account: _after(accounts[one.account], one.change) for one in commit.touched}
    decision = decide(commit.asks, commit.free, standings)
    deltas = [_delta(one, decision.drawn[one.account]) for one in commit.touched]
    await rows.apply(conn, commit.holder_id, deltas)
    await rows.add_lost(conn, commit.lost)
    if commit.dropped:
        await rows.drop_escrows(conn, commit.holder_id, commit.dropped)
    held = {delta.position: before.get(delta.position, 0) + _held(delta) for delta in deltas}
    soft = [one.account for one in commit.touched if not one.hard and one.change.settled]
    alerted = await rows.alert(conn, soft, commit.now_us) if soft else ()
    for row in alerted:
        figures = {"scope_id": row.scope_id, "limit": row.amount, "settled": row.settled}
        await budget_reached(conn, row.budget_id, figures, row.until_us, commit.now_us)
    return Outcome(
        decision.refused_at,
        held,
        accounts,
        {key: standing.room - decision.drawn[key] for key, standing in standings.items()},
        {
            one.account: standings[one.account].escrowed
            + decision.drawn[one.account]
            - standings[one.account].lost
            - held[one.position]
            for one in commit.touched
        },
        alerted,
    )


def _after(row: AccountRow, change: Change) -> Standing:
    """The account when all but the draws is done: what is given back makes room for them."""
    return Standing(
        limit=row.amount,
        settled=row.settled + change.settled,
        escrowed=row.escrowed - change.returned - change.consumed,
        lost=row.lost + change.lost,
        overrun=row.overrun,
        ceiling=row.ceiling,
        hard=row.hard,
    )


def _delta(one: Touched, drawn: int) -> Delta:
    change = one.change
    overrun = change.settled - change.consumed if one.hard else 0
    return Delta(
        one.account, one.position, drawn, change.returned, change.settled, change.consumed, change.lost, overrun
    )


def _held(delta: Delta) -> int:
    return delta.drawn - delta.returned - delta.consumed - delta.lost
