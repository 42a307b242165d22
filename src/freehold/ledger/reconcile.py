"""What a process that died has left: its settlements are made up for, its open calls are kept as possibly billed.

Everything of one process is one transaction, after which it holds nothing; until then its escrow stays locked. Two
processes never do it at once: the journal's lock belongs to one of them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from freehold.ledger.journal import Line, Remains
from freehold.store import ledger as rows
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.ledger import AccountRow, Delta, EscrowRow, LostCall

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Sum:
    settled: int = 0
    consumed: int = 0
    lost: int = 0


async def reconcile(store: Store, remains: Remains, now_us: int) -> int:
    """Settle, keep and give back what that process held; gives the number of calls that may have been billed.

    Raises:
        Unavailable: the database is away; nothing was done, the journal stays.
    """
    done = False
    try:
        lost = await store.write(lambda conn: _reconcile(conn, remains, now_us), wake=["escrow"])
        done = True
    finally:
        remains.close(remove=done)
    if lost:
        log.warning("%s died with %d open calls: they may have been billed.", remains.holder_id, lost)
    return lost


async def _reconcile(conn: Connection, remains: Remains, now_us: int) -> int:
    holder = remains.holder_id
    last = await rows.last_batch(conn, holder)
    if last is None:
        return 0
    escrows = {row.position: row for row in await rows.escrows(conn, holder)}
    accounts = await rows.lock(conn, {row.account_id for row in escrows.values()})
    sums, lost = _added_up(remains, last, escrows, accounts, now_us)
    deltas = []
    for position, escrow in escrows.items():
        one = sums.get(position, _Sum())
        kept = one.lost if remains.trusted else escrow.amount
        returned = escrow.amount - one.consumed - kept
        if returned < 0:
            log.error("%s: %s: %d more than was held.", holder, escrow.account_id, -returned)
            kept, returned = max(0, kept + returned), 0
        if not remains.trusted and kept:
            lost.append(LostCall(holder, escrow.account_id, kept, None, "power", "possibly_billed", now_us))
        overrun = one.settled - one.consumed if accounts[escrow.account_id].hard else 0
        deltas.append(Delta(escrow.account_id, position, 0, returned, one.settled, one.consumed, kept, overrun=overrun))
    await rows.apply(conn, holder, deltas)
    await rows.add_lost(conn, lost)
    await rows.close_holder(conn, holder)
    return len({one.request_id for one in lost})


def _added_up(
    remains: Remains,
    last: int,
    escrows: Mapping[int, EscrowRow],
    accounts: Mapping[str, AccountRow],
    now_us: int,
) -> tuple[dict[int, _Sum], list[LostCall]]:
    sums: dict[int, _Sum] = {}
    lost: list[LostCall] = []
    for line in remains.lines:
        if line.finished and 0 < line.batch <= last:
            continue  # its commit has happened; only the line was not freed
        for position, reserved, cost, kept in line.accounts:
            account = accounts[escrows[position].account_id]
            _add(sums.setdefault(position, _Sum()), line.finished, account.hard, reserved, cost, kept)
            keeps = kept if line.finished else reserved
            if account.hard and keeps:
                lost.append(_lost(line, account.id, keeps, now_us))
    return sums, lost


def _add(to: _Sum, finished: bool, hard: bool, reserved: int, cost: int, kept: int) -> None:
    if finished:
        to.settled += cost
        if hard:
            to.consumed += min(cost, reserved - kept)
            to.lost += kept
    elif hard:
        to.lost += reserved


def _lost(line: Line, account_id: str, amount: int, now_us: int) -> LostCall:
    reason = "unanswered" if line.finished else "crashed"
    return LostCall(line.request_id, account_id, amount, line.model or None, reason, "possibly_billed", now_us)
