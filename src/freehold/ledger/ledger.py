"""The ledger of one server process: which budgets a call counts against, and the escrow to pay for it.

`Ledger.open` begins, `close` ends. A call asks `find` (in memory), reserves, and finishes; whoever manages budgets
uses `manage.py`, which shares the definitions with it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from freehold.clock import Clock
from freehold.config import setting
from freehold.errors import Unavailable
from freehold.ids import NewId
from freehold.ledger import definitions
from freehold.ledger.bank import Bank, Waiting
from freehold.ledger.definitions import Definitions, Who, account_of
from freehold.ledger.journal import MOST_ACCOUNTS, Journal, left_behind
from freehold.ledger.periods import FOREVER
from freehold.ledger.purse import Purse, Purses, Reservation
from freehold.ledger.reconcile import reconcile
from freehold.store import ledger as rows
from freehold.store.budgets import BudgetRow
from freehold.store.engine import Store
from freehold.store.ledger import AccountRow

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often budgets and recalls are looked at when nobody said that they changed."""
_HOLDING_LOOK_S = 0.1
"""How often it is looked whether another process of this machine has knocked for what this one holds idle."""
_REMEMBERED = 20_000
"""Combinations of key, user, session … whose purses are known at once."""


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """How budgets are kept."""

    escrow_idle_s: float = setting(
        5.0, "budget money that this process has drawn and not used for so long goes back for others to use", unit="s"
    )
    reconcile_s: float = setting(
        5.0, "how often the accounts of server processes that died on this machine are looked for", unit="s"
    )
    bounds_assume_us: bool = setting(
        False,
        "the upstream answers from the US unless a call says otherwise, at 1.1 times the price: reserve that much",
    )


@dataclass(frozen=True, slots=True)
class Alert:
    """A soft budget has reached its limit. Each account gives one alert per period, whatever the number of servers."""

    budget: BudgetRow
    account: AccountRow


Hook = Callable[[Alert], None]
"""Is told of alerts, on the event loop; it must not block."""


def log_alert(alert: Alert) -> None:
    """The hook that is always there: a warning in the log."""
    budget, account = alert.budget, alert.account
    log.warning(
        "Budget %s (%s %s) has reached its limit of %d %s a %s.",
        budget.id,
        budget.scope,
        account.scope_id,
        budget.amount,
        budget.unit,
        budget.period,
    )


class Ledger:
    """See the module."""

    def __init__(
        self, store: Store, bank: Bank, journal: Journal, clock: Clock, settings: LedgerSettings, folder: Path
    ) -> None:
        self._store = store
        self.bank = bank
        self._journal = journal
        self._clock = clock
        self._settings = settings
        self._folder = folder
        self.definitions = Definitions(store)
        self._purses: dict[str, Purse] = {}
        self._positions = 0
        self._found: dict[Who, Purses] = {}
        self._version = -1
        self._recalls = 0
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(
        cls,
        store: Store,
        *,
        clock: Clock,
        ids: NewId,
        folder: Path,
        settings: LedgerSettings | None = None,
        hook: Hook = log_alert,
    ) -> Ledger:
        """Reconcile what dead processes have left in `folder`, then begin. Raises `Unavailable`."""
        holder = ids("hold")
        journal = Journal(folder / f"{holder}.journal")

        def alerted(row: AccountRow) -> None:
            if (budget := ledger.definitions.by_id.get(row.budget_id)) is not None:
                hook(Alert(budget, row))

        bank = Bank(store, journal, holder, clock, alerted)
        ledger = cls(store, bank, journal, clock, settings or LedgerSettings(), folder)
        try:
            host = socket.gethostname()[:255]
            await store.write(lambda conn: rows.open_holder(conn, holder, host, clock.now_us()))
            await ledger.reconcile()
            await ledger.definitions.refresh()
        except BaseException:
            journal.close(remove=True)
            raise
        ledger._start()
        return ledger

    def _start(self) -> None:
        self.bank.start()
        for work, name in (
            (self._follow_budgets, "budgets follower"),
            (self._follow_recalls, "recalls follower"),
            (self._tend, "idle escrow"),
            (self._sweep, "dead ledgers"),
        ):
            self._tasks.append(asyncio.create_task(work(), name=name))

    async def close(self) -> None:
        """Settle what is pending, give everything back. Calls that are still open are left to be reconciled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.bank.give_back(self._purses.values())
        await self.bank.close()
        done = self.bank.drained
        if done:
            try:
                await self._store.write(lambda conn: rows.close_holder(conn, self.bank.holder_id))
            except Unavailable:
                done = False
        self._journal.close(remove=done)

    # What calls use.

    def find(self, who: Who, now_us: int) -> Purses:
        """Where a call of `who` counts now; no purse where no budget applies. In memory; its key must be known."""
        if self._version != self.definitions.version:
            self._found.clear()
            self._version = self.definitions.version
        found = self._found.get(who)
        if found is None or found.until_us <= now_us:
            found = self._find(who, now_us)
        return found

    def _find(self, who: Who, now_us: int) -> Purses:
        budgets = self.definitions.apply(who)
        if len(budgets) > MOST_ACCOUNTS:
            raise Unavailable(f"{len(budgets)} budgets apply to this call; at most {MOST_ACCOUNTS} may.")
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        found = self._found[who] = Purses(tuple(self._purse(budget, who, now_us) for budget in budgets))
        return found

    def _purse(self, budget: BudgetRow, who: Who, now_us: int) -> Purse:
        new = account_of(budget, who, now_us)
        purse = self._purses.get(new.id)
        if purse is None:
            self._positions += 1
            purse = Purse(new.id, self._positions, hard=new.hard, in_tokens=budget.unit == "tokens", new=new)
            purse.until_us = FOREVER if new.until_us is None else new.until_us
            purse.used_us = now_us
            self._purses[new.id] = purse
        return purse

    async def draw(self, purses: Purses, nanodollars: int, tokens: int, request_id: str, model: str) -> Reservation:
        """Reserve after all, with a commit. Raises `Refusal`, `Unavailable`."""
        done: asyncio.Future[Reservation] = asyncio.get_running_loop().create_future()
        return await self.bank.draw(Waiting(purses, nanodollars, tokens, request_id, model, done))

    async def add(self, reservation: Reservation, nanodollars: int, tokens: int, request_id: str, model: str) -> None:
        """Set more aside for a further attempt of a call. Raises `Refusal`, `Unavailable`."""
        if self.bank.till.add(reservation, nanodollars, tokens):
            return
        done: asyncio.Future[Reservation] = asyncio.get_running_loop().create_future()
        purses = reservation.purses
        await self.bank.draw(Waiting(purses, nanodollars, tokens, request_id, model, done, reservation))

    # What goes on by itself.

    async def _follow_budgets(self) -> None:
        version = 0
        while True:
            version = await self._store.wakes.changed(definitions.WAKE, version, LOOK_S, lazy=True)
            await self._quietly(self.refresh(), "Budgets cannot be read; those known stay in force.")

    async def refresh(self) -> None:
        """Read the budgets if any has changed, and let go of what may be too much now."""
        if await self.definitions.refresh():
            self.bank.give_back(purse for purse in self._purses.values() if purse.free)  # a limit may be lower now

    async def _follow_recalls(self) -> None:
        """While something is free here, others may want it; else nobody looks at the database for that. Lazily: who
        waits for the watcher keeps it busy, and is woken by every commit of this very process.
        """
        version, answered, looked_s = 0, (0, b""), 0.0
        now_s = asyncio.get_running_loop().time
        while True:
            holding = any(purse.free for purse in self._purses.values())
            version = await self._store.wakes.changed("escrow", version, _HOLDING_LOOK_S, lazy=True)
            asked = (version, self._journal.knocks)
            if holding and (asked != answered or now_s() - looked_s >= LOOK_S):
                answered, looked_s = asked, now_s()
                await self._quietly(self._answer_recall(), "Recalls of idle escrow cannot be read.")

    async def _answer_recall(self) -> None:
        recalls = await self._store.look(lambda conn: rows.recalls(conn, self.bank.holder_id))
        if recalls != self._recalls:
            self._recalls = recalls
            self.bank.give_back(purse for purse in self._purses.values() if purse.free)

    async def _tend(self) -> None:
        """Give back what is idle, forget what nobody uses."""
        while True:
            await self._clock.sleep(self._settings.escrow_idle_s)
            self.tend()

    def tend(self) -> None:
        """One look at every purse."""
        before_us = self._clock.now_us() - round(self._settings.escrow_idle_s * 1_000_000)
        idle = [purse for purse in self._purses.values() if purse.used_us <= before_us and purse.idle]
        self.bank.give_back(purse for purse in idle if purse.free)
        for purse in self._purses.values():
            purse.need //= 2
        unused = [purse for purse in idle if not purse.free and not purse.held]
        for purse in unused:
            del self._purses[purse.account]
            self.bank.drop(purse)
        if unused:
            self._found.clear()

    async def give_back(self) -> None:
        """Commit what is pending and let go of all that no call holds. Raises `Unavailable`."""
        self.bank.give_back(self._purses.values())
        await self.bank.settled()

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(self._settings.reconcile_s)
            await self._quietly(self.reconcile(), "What a dead process has left cannot be reconciled.")

    async def reconcile(self) -> int:
        """Look for processes that died on this machine, and settle for them; gives the number of calls lost."""
        lost = 0
        found = await asyncio.to_thread(lambda: list(left_behind(self._folder)))
        while found:
            try:
                lost += await reconcile(self._store, found.pop(), self._clock.now_us())
            except BaseException:
                for remains in found:
                    remains.close(remove=False)
                raise
        return lost

    async def _quietly(self, work: Awaitable[object], told: str) -> None:
        try:
            await work
        except Unavailable as error:
            log.warning("%s %s", told, error.message)
        except Exception:
            log.exception(told)  # and it goes on: never stop following
