"""A call that budgets apply to, on the books: what is reserved for it, and what it has cost when it is over.

Nothing here waits: where more has to be drawn, `middleware/budgets.py` does, and sets the reservation.
"""

from __future__ import annotations

from freehold.calls import Call, Reply
from freehold.clock import Clock
from freehold.errors import InvalidRequest
from freehold.gateway.attempts import attempts_of
from freehold.gateway.spending import EXACT, Spending, note_paid
from freehold.ledger.bounds import Bound, Bounds
from freehold.ledger.purse import Purse, Purses, Reservation, is_ample
from freehold.ledger.rates import Rates
from freehold.ledger.till import Till


class Desk:
    """What all calls are reckoned by."""

    def __init__(self, till: Till, bounds: Bounds, rates: Rates, clock: Clock) -> None:
        self.till = till
        self.bounds = bounds
        self.rates = rates
        self.clock = clock

    def exact(self, call: Call, purses: Purses, now_us: int) -> Bound | None:
        """The lowest bound that is known of one attempt; `None` where only soft budgets apply.

        Raises:
            InvalidRequest: it has none, and a hard budget applies.
        """
        if not purses.hard:
            return None
        bound = self.bounds.of(call, now_us)
        if bound.nanodollars is None and purses.hard_money:
            raise InvalidRequest(
                f"model: no price is known for {call.model[:100]!r}, so a hard budget in money cannot admit it. Use "
                f"another model, or have the budget made soft or in tokens."
            )
        return bound


class Paying:
    """One call, from its reservation to its settlement."""

    __slots__ = ("_call", "_desk", "body", "bound", "bounds", "nanodollars", "purses", "reservation", "tokens")

    def __init__(self, desk: Desk, call: Call, purses: Purses, now_us: int) -> None:
        """Raises `InvalidRequest`: see `Desk.exact`."""
        self._desk = desk
        self._call = call
        self.purses = purses
        self.body = call.body
        """What was admitted."""
        bound = desk.bounds.of(call, now_us, roughly=True) if purses.hard else None
        if bound is not None and (bound.rough or bound.nanodollars is None) and not _will_do(bound, purses):
            bound = desk.exact(call, purses, now_us)
        self.bound = bound
        """Of its first attempt; `None` where only soft budgets apply."""
        self.bounds: list[Bound | None] = []
        """Of its attempts so far."""
        self.nanodollars, self.tokens = (bound.nanodollars or 0, bound.tokens) if bound is not None else (0, 0)
        """What is to be reserved."""
        self.reservation: Reservation | None = desk.till.reserve(
            purses, self.nanodollars, self.tokens, call.request_id, call.model, now_us
        )
        """`None`: what is free here is not enough, and more has to be drawn."""

    def bound_of(self, call: Call) -> Bound | None:
        """That of one more attempt, which may be of another body; `None` where only soft budgets apply.

        Raises:
            InvalidRequest: it has none.
        """
        self._be_exact()
        return self.bound if call.body is self.body else self._exactly(call)

    def lacks(self, bound: Bound | None) -> tuple[int, int]:
        """(nanodollars, tokens) that one more attempt with that bound needs besides what is reserved."""
        if bound is None:
            return 0, 0
        spent, held = self._added_up(), self.held()
        nanodollars = spent.nanodollars + spent.kept_nanodollars + (bound.nanodollars or 0) - held.nanodollars
        return max(0, nanodollars), max(0, spent.tokens + spent.kept_tokens + bound.tokens - held.tokens)

    def settle(self) -> None:
        """The call is over, however it ended."""
        call, reservation, spent = self._call, self.held(), self._added_up()
        if spent.settlement != EXACT and self._be_exact():
            spent = self._added_up()
        cost, kept = (spent.nanodollars, spent.tokens), (spent.kept_nanodollars, spent.kept_tokens)
        self._desk.till.finish(reservation, cost, kept, call.request_id, call.model)
        note_paid(call, reservation.nanodollars if self.purses.hard_money else None, spent)

    def say(self, reply: Reply) -> None:
        """What is left after this call's reservation, where it is least."""
        purses = self.purses
        if purses.hard_money:
            reply.headers.append((b"x-freehold-budget-remaining-nanodollars", _least_left(purses.hard_money)))
        if purses.hard_tokens:
            reply.headers.append((b"x-freehold-budget-remaining-tokens", _least_left(purses.hard_tokens)))

    def held(self) -> Reservation:
        """What is reserved: a call is sent only when there is that."""
        assert self.reservation is not None, "a call was sent without a reservation"
        return self.reservation

    def _added_up(self) -> Spending:
        """What the attempts have cost so far, or may have cost."""
        spent, rates, clock = Spending(), self._desk.rates, self._desk.clock
        attempts = attempts_of(self._call)
        place = len(attempts) - len(self.bounds)
        for bound in self.bounds:
            spent.add(attempts[place], bound, rates, clock)
            place += 1
        return spent

    def _be_exact(self) -> bool:
        """From now on by the exact bound, as something has gone wrong: what is kept would be too much else. False: it
        is exact already.
        """
        rough = self.bound
        if rough is None or not rough.rough:
            return False
        self.bound = self._exactly(self._call)
        self.bounds = [self.bound if bound is rough else bound for bound in self.bounds]
        return True

    def _exactly(self, call: Call) -> Bound | None:
        return self._desk.exact(call, self.purses, self._desk.clock.now_us())


def _will_do(bound: Bound, purses: Purses) -> bool:
    """Whether a call need not be read for a lower bound: there is plenty."""
    return bound.nanodollars is not None and is_ample(purses, bound.nanodollars, bound.tokens)


def _least_left(purses: tuple[Purse, ...]) -> bytes:
    least = purses[0].room + purses[0].free
    for purse in purses:
        if purse.room + purse.free < least:
            least = purse.room + purse.free
    return b"%d" % least
