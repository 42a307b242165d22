"""The escrow of one process: purses, waiting calls, and the one task that commits for all of them.

While escrow lasts, a call reserves and settles in memory and in the journal, and nothing waits. A call for which it
does not last waits for the next commit, which settles what is pending, gives back what is idle, and draws for all that
wait, in one transaction. It knows no budget and no call, only accounts and amounts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from freehold.clock import Clock
from freehold.errors import Unavailable
from freehold.ledger import purse as local
from freehold.ledger.commit import Commit, Outcome, Touched, run
from freehold.ledger.journal import Journal
from freehold.ledger.protocol import Ask, Change, is_tight
from freehold.ledger.purse import Purse, Purses, Reservation
from freehold.ledger.till import Till
from freehold.store import ledger as rows
from freehold.store.engine import Store
from freehold.store.ledger import AccountRow

log = logging.getLogger(__name__)

SETTLE_S = 0.5
"""Settlements wait for company so long, at most: a commit costs milliseconds, and the journal has them meanwhile."""
RETRY_S = (0.05, 1.0)
"""When a commit is tried again that failed, first and from then on: other processes, or the database is away."""
RECALLS = 7
RECALL_WAIT_S = 0.06
"""A call that does not fit because other processes hold escrow waits so often and so long for what they hold idle."""
MOST_ASKS = 500
"""Waiting calls that one commit looks at, so that no transaction is long."""
MOST_WAITING = 10_000
WAKE = "~escrow"
"""The key of our commits. It sorts behind the ids of sessions: accounts are locked last."""


class Refusal(Exception):
    """A call does not fit: at which account, as it stood, and what the process held of it free."""

    def __init__(self, account: AccountRow, need: int, free: int) -> None:
        super().__init__(account, need, free)
        self.account = account
        self.need = need
        self.free = free


@dataclass(slots=True, eq=False)
class Waiting:
    """A call, or a further attempt of one (`reservation` is set), that local escrow was not enough for."""

    purses: Purses
    nanodollars: int
    tokens: int
    request_id: str
    model: str
    done: asyncio.Future[Reservation]
    reservation: Reservation | None = None
    recalls: int = 0

    def needs(self) -> tuple[tuple[str, int], ...]:
        """Its bound at each account, in their order."""
        most = Reservation(self.purses, self.nanodollars, self.tokens)
        return tuple(sorted((purse.account, most.at(purse)) for purse in self.purses.each))


@dataclass(slots=True, eq=False)
class _Batch:
    """A commit on its way, and what in memory belongs to it."""

    commit: Commit
    purses: list[Purse]
    waiting: list[Waiting]
    slots: list[int]
    aside: dict[Purse, int]


class Bank:
    """See the module. `start` begins the task, `close` ends it and gives back what can be given back."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        holder_id: str,
        clock: Clock,
        alerted: Callable[[AccountRow], None],
    ) -> None:
        self._store = store
        self._journal = journal
        self.holder_id = holder_id
        self._clock = clock
        self._alerted = alerted
        self._waiting: list[Waiting] = []
        self._dropped: list[int] = []
        self._number = 0
        self._unsure: _Batch | None = None
        self._something = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self.till = Till(journal, clock, self._settle_soon)
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._busy = False
        self._later: set[asyncio.TimerHandle] = set()
        self._rounds = 0
        self._round_done = asyncio.Condition()
        self.commits = 0
        self.draws = 0
        """Calls that had to wait for a commit."""

    def start(self) -> None:
        """Begin to commit."""
        self._task = asyncio.create_task(self._run(), name="ledger")

    async def draw(self, waiting: Waiting) -> Reservation:
        """Wait for a commit that draws what is missing.

        Raises:
            Refusal: it does not fit at one of its accounts.
            Unavailable: the database is away: no call passes that nobody could account for.
        """
        if self._closing or len(self._waiting) >= MOST_WAITING:
            raise Unavailable("The ledger takes no more calls now; try again.")
        self.draws += 1
        for purse in waiting.purses.each:
            purse.waiting += 1
        self._queue(waiting)
        try:
            return await waiting.done
        except asyncio.CancelledError:
            self._undo(waiting)
            raise
        finally:
            for purse in waiting.purses.each:
                purse.waiting -= 1

    def _undo(self, waiting: Waiting) -> None:
        """Who waited has gone. What was just reserved for it is let go; a further attempt's goes with its call."""
        done = waiting.done
        if done.done() and not done.cancelled() and done.exception() is None and waiting.reservation is None:
            self.till.finish(done.result(), local.NOTHING, local.NOTHING, waiting.request_id, waiting.model)

    def _queue(self, waiting: Waiting) -> None:
        self._waiting.append(waiting)
        self._something.set()

    def give_back(self, purses: Iterable[Purse]) -> None:
        """What is free of these goes back with the next commit."""
        for purse in purses:
            purse.returning = True
            self.till.touched.add(purse)
        self._something.set()

    def drop(self, purse: Purse) -> None:
        """Nobody uses this purse any more, and it is empty."""
        purse.is_open = False
        self._dropped.append(purse.index)
        self.till.touched.discard(purse)

    async def settled(self) -> None:
        """Wait until what is pending now is committed.

        Raises:
            Unavailable: the database is away.
        """
        target = self._rounds + (2 if self._unsure is not None or self._busy else 1)
        self._something.set()
        async with self._round_done:
            await self._round_done.wait_for(lambda: self._rounds >= target or self._unsure is not None)
        if self._unsure is not None:
            raise Unavailable("The ledger cannot be written now; try again.")

    async def close(self) -> None:
        """Commit what is pending, then end. The caller has given back all purses before."""
        self._closing = True
        self._something.set()
        if self._timer is not None:
            self._timer.cancel()
        for handle in self._later:
            handle.cancel()
        if self._task is not None:
            await self._task

    @property
    def drained(self) -> bool:
        """Nothing is pending or open: the journal is not needed any more."""
        return self._unsure is None and self._journal.open_lines == 0

    # The task.

    def _settle_soon(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SETTLE_S, self._due)

    def _due(self) -> None:
        self.till.waits = False
        self._something.set()

    async def _run(self) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            self._busy = True
            while await self._round():
                pass
            self._busy = False
            async with self._round_done:
                self._rounds += 1
                self._round_done.notify_all()
            if self._closing:
                self._refuse_all(Unavailable("The server is stopping."))
                return

    async def _round(self) -> bool:
        """One commit; true if there is more to do."""
        batch = self._unsure or self._prepare()
        if batch is None:
            return False
        try:
            outcome: Outcome = await self._store.write(partial(run, commit=batch.commit), wake=[WAKE])
        except Exception as error:  # noqa: BLE001 (whatever it is: no call may pass, nothing may be forgotten)
            self._failed(batch, error)
            return False
        self._unsure = None
        self.commits += 1
        await self._take(batch, outcome)
        return bool(self._waiting or (self._closing and (self.till.finished or self.till.touched)))

    def _prepare(self) -> _Batch | None:
        """What is to be committed now; from here until its end it is not in the purses any more."""
        waiting = [one for one in self._waiting if not one.done.done()]
        waiting, self._waiting = waiting[:MOST_ASKS], waiting[MOST_ASKS:]
        asked = {purse for one in waiting for purse in one.purses.each}
        # All that is pending, in one commit: a line of the journal is settled at all of its accounts or at none.
        others = {purse for purse in self.till.touched if purse not in asked and (purse.pending or _returns(purse))}
        purses = [*asked, *others]
        slots, self.till.finished = self.till.finished, []
        self.till.touched.clear()
        if not (purses or slots or self._dropped):
            return None
        aside = {purse: purse.free for purse in asked}
        for purse in asked:
            purse.free = 0
        self._number += 1
        self._journal.batch(slots, self._number)
        commit = self._commit(purses, waiting, {purse.account: free for purse, free in aside.items()})
        return _Batch(commit, purses, waiting, slots, aside)

    def _commit(self, purses: Sequence[Purse], waiting: Sequence[Waiting], free: dict[str, int]) -> Commit:
        touched = [_touched(purse, returns=purse.account not in free) for purse in purses]
        dropped, self._dropped = self._dropped, []
        lost, self.till.lost = self.till.lost, []
        asks = [Ask(one.needs()) for one in waiting]
        return Commit(self.holder_id, self._number, touched, lost, dropped, asks, free, self._clock.now_us())

    async def _take(self, batch: _Batch, outcome: Outcome) -> None:
        """It is durable: what came of it goes back into the purses, and to those that wait."""
        touched = {one.account: one for one in batch.commit.touched}
        for purse in batch.purses:
            change = touched[purse.account].change
            held = outcome.held[purse.index]
            drawn = held - (purse.held - change.returned - change.consumed - change.lost)
            purse.free += batch.aside.get(purse, 0) + drawn
            purse.held = held
            purse.returning = False
            purse.room = outcome.room.get(purse.account, 0)
            purse.is_open = True
        self._journal.free(batch.slots)
        for row in outcome.alerts:
            self._alerted(row)
        self.till.touched.update(purse for purse in batch.aside if _returns(purse))
        if outcome.repeated:
            self._waiting = batch.waiting + self._waiting
            return
        recall = False
        for one, refused_at in zip(batch.waiting, outcome.refused_at, strict=True):
            if refused_at is None:
                self._admit(one)
            else:
                recall |= self._refuse(one, refused_at, outcome)
        if self.till.touched:
            self.till.wait()
        if recall:
            await self._recall()

    def _admit(self, one: Waiting) -> None:
        if one.done.done():  # it has gone: what was drawn for it is free
            self.till.touched.update(one.purses.each)
            return
        if one.reservation is not None:
            self.till.added(one.reservation, one.nanodollars, one.tokens)
            one.done.set_result(one.reservation)
            return
        now_us = self._clock.now_us()
        made = self.till.reserve(one.purses, one.nanodollars, one.tokens, one.request_id, one.model, now_us)
        assert made is not None, "what was drawn for a call must be there"
        one.done.set_result(made)

    def _refuse(self, one: Waiting, account: str, outcome: Outcome) -> bool:
        """Refuse it, unless what others hold might be idle: then they are asked for it (true), and it waits again."""
        need = dict(one.needs())[account]
        others = outcome.others[account]
        room = outcome.room[account]
        purse = next(purse for purse in one.purses.each if purse.account == account)
        if others and need <= room + others + purse.free and one.recalls < RECALLS and not self._closing:
            one.recalls += 1
            loop = asyncio.get_running_loop()
            handle = loop.call_later(RECALL_WAIT_S * one.recalls, self._requeue, one)
            self._later.add(handle)
            return one.recalls == 1
        if not one.done.done():
            one.done.set_exception(Refusal(outcome.accounts[account], need, max(0, purse.free + room)))
        return False

    def _requeue(self, one: Waiting) -> None:
        self._later = {handle for handle in self._later if not handle.cancelled() and handle.when() > _now()}
        if not one.done.done():
            self._queue(one)

    async def _recall(self) -> None:
        try:
            await self._store.write(partial(rows.recall, holder_id=self.holder_id), wake=["escrow"])
        except Unavailable as error:
            log.warning("Other processes could not be asked for idle escrow: %s", error.message)
        else:
            self._journal.knock()

    def _failed(self, batch: _Batch, error: Exception) -> None:
        """Nothing is known of it: it is tried again as it is, and no call passes on the strength of it."""
        if not isinstance(error, Unavailable):
            log.error("A commit of the ledger failed; it is tried again.", exc_info=error)
        for purse, free in batch.aside.items():
            purse.free += free
        for one in batch.waiting:
            if not one.done.done():
                one.done.set_exception(Unavailable(f"The ledger cannot be written: {error}"))
        commit = again = batch.commit
        if self._unsure is None:
            again = replace(commit, asks=(), free={})
        self._unsure = _Batch(again, batch.purses, [], batch.slots, {})
        self._refuse_all(Unavailable("The ledger cannot be written now; try again."))
        if not self._closing:
            asyncio.get_running_loop().call_later(RETRY_S[again is commit], self._something.set)

    def _refuse_all(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done.done():
                one.done.set_exception(error)


def _returns(purse: Purse) -> bool:
    return purse.hard and purse.free > 0 and (purse.returning or is_tight(purse.need, purse.room))


def _touched(purse: Purse, *, returns: bool) -> Touched:
    """What of a purse goes into a commit, no longer in the purse."""
    pending = purse.take()
    back = purse.free if returns and _returns(purse) else 0
    purse.free -= back
    change = Change(returned=back, settled=pending.settled, consumed=pending.consumed, lost=pending.lost)
    return Touched(purse.account, purse.index, purse.hard, change, None if purse.is_open else purse.new)


def _now() -> float:
    return asyncio.get_running_loop().time()
