"""What calls use of the ledger: they reserve and settle in memory and in the journal, and nothing waits.

What is to be committed gathers here, until the bank takes it. Knows no database and no event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from freehold.clock import Clock
from freehold.ledger import purse as local
from freehold.ledger.journal import Journal
from freehold.ledger.purse import Purse, Purses, Reservation
from freehold.store.ledger import LostCall

log = logging.getLogger(__name__)


class Till:
    """See the module. `due` is called once when something is to be committed; the bank clears `waits` after it."""

    def __init__(self, journal: Journal, clock: Clock, due: Callable[[], None]) -> None:
        self._journal = journal
        self._clock = clock
        self._due = due
        self.waits = False
        """The bank knows that something is to be committed."""
        self.touched: set[Purse] = set()
        """Purses in which something may be pending."""
        self.finished: list[int] = []
        """Lines of the journal whose calls are over."""
        self.lost: list[LostCall] = []
        self.overruns = 0
        """Calls that have cost more than was reserved: each is a defect of a bound."""

    def reserve(
        self, purses: Purses, nanodollars: int, tokens: int, request_id: str, model: str, now_us: int
    ) -> Reservation | None:
        """Out of local escrow; `None`: it is not enough, `Bank.draw` waits for more."""
        reservation = local.reserve(purses, nanodollars, tokens, now_us)
        if reservation is not None:
            reservation.slot = self._journal.write(request_id, model, now_us, purses.marks, nanodollars, tokens)
        return reservation

    def add(self, reservation: Reservation, nanodollars: int, tokens: int) -> bool:
        """Set more aside for a further attempt, out of local escrow; false: it is not enough."""
        if not local.can_reserve(reservation.purses, nanodollars, tokens):
            return False
        self.added(reservation, nanodollars, tokens)
        return True

    def added(self, reservation: Reservation, nanodollars: int, tokens: int) -> None:
        """As `add`, where it is known to be enough."""
        local.add(reservation, nanodollars, tokens)
        self._journal.rewrite(reservation.slot, reservation.nanodollars, reservation.tokens)

    def finish(
        self, reservation: Reservation, cost: tuple[int, int], kept: tuple[int, int], request_id: str, model: str
    ) -> bool:
        """The call is over. `cost` and `kept` are (nanodollars, tokens): what is settled, and what lost attempts keep.

        False if it has cost more than was reserved.
        """
        keeps = local.finish(reservation, cost, kept)
        self._journal.finish(reservation.slot, cost, keeps)
        self.finished.append(reservation.slot)
        self.touched.update(reservation.purses.each)
        if keeps != local.NOTHING:
            self._note_lost(reservation, keeps, request_id, model)
        self.wait()
        within = cost[0] + keeps[0] <= reservation.nanodollars and cost[1] + keeps[1] <= reservation.tokens
        if not within and local.overran(reservation, cost, keeps):
            self.overruns += 1
            log.error(
                "Call %s (%s) has cost %d nanodollars and %d tokens; its bound was %d and %d: a defect, %d so far.",
                request_id,
                model[:128],
                *cost,
                reservation.nanodollars,
                reservation.tokens,
                self.overruns,
            )
            return False
        return True

    def wait(self) -> None:
        """Something is to be committed before long."""
        if not self.waits:
            self.waits = True
            self._due()

    def _note_lost(self, reservation: Reservation, kept: tuple[int, int], request_id: str, model: str) -> None:
        now_us = self._clock.now_us()
        self.lost += [
            LostCall(request_id, purse.account, amount, model[:128], "unanswered", "possibly_billed", now_us)
            for purse in reservation.purses.each
            if purse.hard and (amount := kept[purse.in_tokens])
        ]
