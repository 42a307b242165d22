"""The escrow protocol as a state machine: several processes, several accounts a call, crashes anywhere.

The database is a dictionary of `Standing`; a commit is atomic, and a crash may come before it, or after it and before
the process knows. What survives a crash is what the real one keeps: the accounts, what each process holds, the number
of its last commit, and its journal of reservations.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from freehold.ledger import purse as local
from freehold.ledger.protocol import Ask, Change, Standing, ahead, changed, decide, is_tight, opened, with_limit
from freehold.ledger.purse import Purse, Purses, Reservation

ACCOUNTS = ("key", "organisation", "user")
PROCESSES = 3
AMOUNT = st.integers(1, 40)


@dataclass(eq=False)
class Entry:
    """One line of the journal of a process: it outlives the process."""

    accounts: tuple[str, ...]
    reserved: int
    cost: int = 0
    kept: int = 0
    finished: bool = False
    batch: int = 0


@dataclass(eq=False)
class Process:
    purses: dict[str, Purse] = field(default_factory=dict)
    calls: list[tuple[Reservation, Entry]] = field(default_factory=list)
    journal: list[Entry] = field(default_factory=list)
    batch: int = 0


class Protocol(RuleBasedStateMachine):
    @initialize(limits=st.tuples(*[st.integers(0, 400)] * 3))
    def start(self, limits: tuple[int, int, int]) -> None:
        self.period = 0
        self.database: dict[str, Standing] = {}
        self.limits = dict(zip(ACCOUNTS, limits, strict=True))
        self.lowered: set[str] = set()
        self.held: dict[tuple[int, str], int] = {}
        self.committed = [0] * PROCESSES
        self.processes = [Process() for _ in range(PROCESSES)]
        self.spent: dict[str, int] = {}  # what an independent observer has seen the calls cost

    def _account(self, name: str) -> str:
        account = f"{name}/{self.period}"
        self.database.setdefault(account, opened(self.limits[name]))
        self.spent.setdefault(account, 0)
        return account

    def _purse(self, process: Process, account: str) -> Purse:
        if account not in process.purses:
            process.purses[account] = Purse(account, len(process.purses), hard=True, in_tokens=False)
            process.purses[account].is_open = True
        return process.purses[account]

    @rule(who=st.integers(0, PROCESSES - 1), scopes=st.sets(st.sampled_from(ACCOUNTS), min_size=1), amount=AMOUNT)
    def reserve(self, who: int, scopes: set[str], amount: int) -> None:
        process = self.processes[who]
        accounts = tuple(sorted(self._account(name) for name in scopes))
        purses = Purses(tuple(self._purse(process, account) for account in accounts))
        reservation = local.reserve(purses, amount, 0, 0)
        if reservation is None:
            if not self._draw(who, accounts, amount):
                return
            reservation = local.reserve(purses, amount, 0, 0)
            assert reservation is not None, "what was drawn is not there"
        entry = Entry(accounts, reservation.nanodollars)
        process.journal.append(entry)
        process.calls.append((reservation, entry))

    def _draw(self, who: int, accounts: tuple[str, ...], amount: int) -> bool:
        process = self.processes[who]
        free = {account: process.purses[account].free for account in accounts}
        standings = {account: self.database[account] for account in accounts}
        decision = decide([Ask(tuple((account, amount) for account in accounts))], free, standings)
        fits = all(amount <= free[account] + standings[account].room for account in accounts)
        assert (decision.refused_at[0] is None) == fits, "refused without need, or admitted without room"
        if not fits:
            assert not any(decision.drawn.values()), "a refused call has drawn at another account"
            return False
        self._commit(who, {account: Change(drawn=drawn) for account, drawn in decision.drawn.items()})
        for account, drawn in decision.drawn.items():
            process.purses[account].free += drawn
        return True

    def _commit(self, who: int, changes: dict[str, Change]) -> None:
        after = {account: changed(self.database[account], change) for account, change in changes.items()}
        self.database.update(after)
        for account, change in changes.items():
            self.held[who, account] = self.held.get((who, account), 0) + change.held
            assert self.held[who, account] >= 0
        self.processes[who].batch += 1
        self.committed[who] = self.processes[who].batch

    @rule(who=st.integers(0, PROCESSES - 1), pick=st.integers(0, 50), percent=st.integers(0, 100), more=AMOUNT)
    def another_attempt(self, who: int, pick: int, percent: int, more: int) -> None:
        process = self.processes[who]
        if not process.calls:
            return
        reservation, entry = process.calls[pick % len(process.calls)]
        if local.can_reserve(reservation.purses, more, 0):
            local.add(reservation, more, 0)
            entry.reserved = reservation.nanodollars

    @rule(
        who=st.integers(0, PROCESSES - 1), pick=st.integers(0, 50), cost=st.integers(0, 100), lost=st.integers(0, 100)
    )
    def finish(self, who: int, pick: int, cost: int, lost: int) -> None:
        """Settle (lost 0), cancel (cost 0), or an attempt lost on the way."""
        process = self.processes[who]
        if not process.calls:
            return
        reservation, entry = process.calls.pop(pick % len(process.calls))
        kept = min(lost, reservation.nanodollars) if lost > 60 else 0
        cost = cost * (reservation.nanodollars - kept) // 100
        (keeps, _) = local.finish(reservation, (cost, 0), (kept, 0))
        assert not local.overran(reservation, (cost, 0), (keeps, 0))
        entry.cost, entry.kept, entry.finished = cost, keeps, True
        for account in entry.accounts:
            self.spent[account] += cost

    @rule(who=st.integers(0, PROCESSES - 1), fate=st.sampled_from(["fine", "before", "after"]))
    def settle(self, who: int, fate: str) -> None:
        """Commit what is pending and give back what is free; the process may die before or after the commit."""
        process = self.processes[who]
        ready = [entry for entry in process.journal if entry.finished]
        for entry in ready:
            entry.batch = process.batch + 1
        if fate != "before":
            self._commit(who, {purse.account: self._pending(purse) for purse in process.purses.values()})
        if fate == "fine":
            process.journal = [entry for entry in process.journal if entry not in ready]
        else:
            self.crash(who)

    def _pending(self, purse: Purse) -> Change:
        pending = purse.take()
        back = purse.free if is_tight(purse.need, self.database[purse.account].room) else 0
        purse.free -= back
        return Change(returned=back, settled=pending.settled, consumed=pending.consumed, lost=pending.lost)

    @rule(who=st.integers(0, PROCESSES - 1))
    def crash(self, who: int) -> None:
        """The process is gone with its memory; another one reconciles from its journal and what the database has."""
        journal, last = self.processes[who].journal, self.committed[who]
        totals: dict[str, list[int]] = {account: [0, 0] for (holder, account) in self.held if holder == who}
        for entry in journal:
            if entry.finished and entry.batch and entry.batch <= last:
                continue  # committed already
            for account in entry.accounts:
                cost, kept = (entry.cost, entry.kept) if entry.finished else (0, entry.reserved)
                totals.setdefault(account, [0, 0])
                totals[account][0] += cost
                totals[account][1] += kept
        changes = {}
        for account, (cost, kept) in totals.items():
            held = self.held.get((who, account), 0)
            changes[account] = Change(settled=cost, consumed=cost, lost=kept, returned=held - cost - kept)
            assert changes[account].returned >= 0, "the journal knows of more than was drawn"
        self._commit(who, changes)
        self.processes[who] = Process(batch=self.processes[who].batch)
        assert all(amount == 0 for (holder, _), amount in self.held.items() if holder == who)

    @rule(name=st.sampled_from(ACCOUNTS), limit=st.integers(0, 400))
    def limit_change(self, name: str, limit: int) -> None:
        self.limits[name] = limit
        account = self._account(name)
        if limit < self.database[account].settled + self.database[account].escrowed:
            self.lowered.add(account)
        self.database[account] = with_limit(self.database[account], limit)

    @rule()
    def roll_over(self) -> None:
        """A new period: new accounts. Calls under way settle where they reserved."""
        self.period += 1

    @invariant()
    def no_account_is_overdrawn(self) -> None:
        for account, standing in getattr(self, "database", {}).items():
            assert standing.holds and standing.overrun == 0
            assert standing.escrowed >= standing.lost >= 0
            if account not in self.lowered:
                assert standing.settled + standing.escrowed <= max(standing.limit, standing.ceiling)
                assert standing.ceiling == standing.limit

    @invariant()
    def every_escrow_has_a_holder(self) -> None:
        for account, standing in getattr(self, "database", {}).items():
            held = sum(amount for (_, of), amount in self.held.items() if of == account)
            assert standing.escrowed == held + standing.lost

    @invariant()
    def a_process_reserves_no_more_than_it_holds(self) -> None:
        for who, process in enumerate(getattr(self, "processes", [])):
            for account, purse in process.purses.items():
                reserved = sum(r.at(purse) for r, _ in process.calls if purse in r.purses.each)
                assert purse.free >= 0
                purse.held = self.held.get((who, account), 0)  # as a process learns it with every commit
                assert purse.reserved == reserved

    @invariant()
    def what_was_spent_is_settled_or_pending(self) -> None:
        for account, spent in getattr(self, "spent", {}).items():
            pending = sum(p.purses[account].settled for p in self.processes if account in p.purses)
            assert self.database[account].settled + pending == spent


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_near_the_limit_only_what_is_needed_is_drawn() -> None:
    standings = {"key": opened(450)}
    asks = [Ask((("key", 49),))] * 50
    decision = decide(asks, {}, standings)
    assert decision.refused_at.count(None) == 9
    assert decision.drawn == {"key": 9 * 49}


def test_far_from_the_limit_the_slice_is_large_and_never_more_than_a_share_of_the_room() -> None:
    assert ahead(1, 1_000_000) == 512
    assert ahead(1_000, 1_000_000) == 31_250
    assert ahead(31_251, 1_000_000) == 0
    decision = decide([Ask((("a", 10), ("b", 10)))], {"b": 10}, {"a": opened(1_000_000), "b": opened(1_000_000)})
    assert decision.drawn == {"a": 10 + 5_120, "b": 5_120}


def test_what_is_reserved_without_a_look_is_in_all_a_small_part_of_what_is_left() -> None:
    purse = Purse("a", 0, hard=True, in_tokens=False)
    purses = Purses((purse,))
    purse.is_open, purse.free, purse.held, purse.room = True, 1_000, 1_000, 3_200
    assert local.is_ample(purses, 100, 0) and not local.is_ample(purses, 101, 0)
    reservation = local.reserve(purses, 40, 0, 0)
    assert reservation is not None
    assert local.is_ample(purses, 60, 0) and not local.is_ample(purses, 61, 0)
    local.finish(reservation, (10, 0), (0, 0))
    assert local.is_ample(purses, 100, 0), "what is settled is not reserved any more"
    purse.free = 99
    assert not local.is_ample(purses, 100, 0), "it is not at hand"


def test_a_cost_above_the_bound_is_settled_whole_and_counted() -> None:
    purse = Purse("a", 0, hard=True, in_tokens=False)
    purse.is_open, purse.free = True, 10
    reservation = local.reserve(Purses((purse,)), 10, 0, 0)
    assert reservation is not None
    kept = local.finish(reservation, (13, 0), (0, 0))
    assert local.overran(reservation, (13, 0), kept)
    after = changed(Standing(10, escrowed=10, ceiling=10), purse.take())
    assert (after.settled, after.escrowed, after.overrun, after.holds) == (13, 0, 3, True)
