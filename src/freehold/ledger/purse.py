"""What one process holds of one account, and the reservations of its calls. In memory, in arithmetic, nothing else.

A commit takes what is pending (`take`), and tells afterwards that it is durable (`committed`). Between the two, calls
go on reserving and settling against `free`.
"""

from __future__ import annotations

from freehold.ledger.journal import marks
from freehold.ledger.periods import FOREVER
from freehold.ledger.protocol import Change, is_tight
from freehold.store.ledger import NewAccount


class Purse:
    """Escrow of one account in one process. `free` is what can be reserved at once."""

    __slots__ = (
        "account",
        "consumed",
        "free",
        "hard",
        "held",
        "in_tokens",
        "index",
        "is_open",
        "lost",
        "need",
        "new",
        "open_calls",
        "returning",
        "room",
        "settled",
        "until_us",
        "used_us",
        "waiting",
    )

    def __init__(self, account: str, index: int, *, hard: bool, in_tokens: bool, new: NewAccount | None = None) -> None:
        self.account = account
        self.new = new
        """What the account is made of if it is not there yet."""
        self.index = index
        """Stands for the account in the journal of this process."""
        self.hard = hard
        self.in_tokens = in_tokens
        self.is_open = False
        """The database knows that this process uses the account."""
        self.free = 0
        self.held = 0
        """What the database says this process has, as of the last commit."""
        self.open_calls = 0
        self.waiting = 0
        self.settled = 0
        self.consumed = 0
        self.lost = 0
        self.room = 0
        """What could be drawn when the database was last asked."""
        self.need = 0
        """The dearest reservation of late."""
        self.returning = False
        """What is free goes back with the next commit."""
        self.used_us = 0
        self.until_us = 0

    @property
    def idle(self) -> bool:
        """No call uses it and nothing is pending."""
        return not (self.open_calls or self.waiting or self.settled or self.consumed or self.lost)

    @property
    def pending(self) -> bool:
        """Something has to be committed."""
        return bool(self.settled or self.consumed or self.lost)

    @property
    def reserved(self) -> int:
        """What open calls have set aside; more, while a commit is on its way."""
        return self.held - self.free - self.consumed - self.lost

    def take(self) -> Change:
        """What is pending, no longer pending here."""
        change = Change(settled=self.settled, consumed=self.consumed, lost=self.lost)
        self.settled = self.consumed = self.lost = 0
        return change


NOTHING = (0, 0)
"""Nanodollars, tokens."""


class Purses:
    """Where a call counts: a purse for each of its budgets. What every call asks of them is found out once."""

    __slots__ = ("each", "hard", "hard_money", "hard_tokens", "marks", "until_us")

    def __init__(self, each: tuple[Purse, ...]) -> None:
        self.each = each
        self.hard = any(purse.hard for purse in each)
        """Some budget refuses."""
        self.hard_money = tuple(purse for purse in each if purse.hard and not purse.in_tokens)
        self.hard_tokens = tuple(purse for purse in each if purse.hard and purse.in_tokens)
        self.until_us = min((purse.until_us for purse in each), default=FOREVER)
        """The first of their periods ends then: a later call counts elsewhere."""
        self.marks = marks((purse.index, purse.in_tokens) for purse in each)
        """What the journal writes of them."""


class Reservation:
    """The bound of one call: `nanodollars` set aside at each hard purse in money, `tokens` at each hard one in tokens.
    At soft ones nothing is.
    """

    __slots__ = ("nanodollars", "purses", "slot", "tokens")

    def __init__(self, purses: Purses, nanodollars: int, tokens: int) -> None:
        self.purses = purses
        self.nanodollars = nanodollars
        self.tokens = tokens
        self.slot = -1
        """Where the journal has it."""

    def at(self, purse: Purse) -> int:
        """How much of it is set aside there."""
        return (self.tokens if purse.in_tokens else self.nanodollars) if purse.hard else 0


def can_reserve(purses: Purses, nanodollars: int, tokens: int) -> bool:
    """Whether local escrow is enough at every purse."""
    for purse in purses.each:
        if not purse.is_open or (purse.hard and purse.free < (tokens if purse.in_tokens else nanodollars)):
            return False
    return True


def is_ample(purses: Purses, nanodollars: int, tokens: int) -> bool:
    """Whether that is at hand everywhere, and would be, with all that is reserved here, a small part of what is left:
    then nobody is refused for the sake of it.
    """
    return can_reserve(purses, nanodollars, tokens) and not any(
        is_tight(purse.reserved + (tokens if purse.in_tokens else nanodollars), purse.room)
        for purse in purses.each
        if purse.hard
    )


def reserve(purses: Purses, nanodollars: int, tokens: int, now_us: int) -> Reservation | None:
    """Set the bound aside at every purse, or, where local escrow is not enough, at none: `None`."""
    if not can_reserve(purses, nanodollars, tokens):
        return None
    for purse in purses.each:
        purse.open_calls += 1
        purse.used_us = now_us
        if purse.hard:
            amount = tokens if purse.in_tokens else nanodollars
            purse.free -= amount
            if amount > purse.need:
                purse.need = amount
    return Reservation(purses, nanodollars, tokens)


def add(reservation: Reservation, nanodollars: int, tokens: int) -> None:
    """Set more aside for another attempt of the same call; `can_reserve` was true."""
    for purse in reservation.purses.each:
        if purse.hard:
            purse.free -= tokens if purse.in_tokens else nanodollars
    reservation.nanodollars += nanodollars
    reservation.tokens += tokens


def finish(reservation: Reservation, cost: tuple[int, int], kept: tuple[int, int]) -> tuple[int, int]:
    """The call is over. `cost` and `kept` are (nanodollars, tokens): what it has cost, and what lost attempts of it
    keep. The rest is free again.

    Gives what is kept: never more than was reserved. A cost above that is settled whole; `overran` finds that out.
    """
    left = (reservation.nanodollars, reservation.tokens)
    if kept != NOTHING:
        kept = (min(kept[0], left[0]), min(kept[1], left[1]))
        left = (left[0] - kept[0], left[1] - kept[1])
    consumed = (cost[0] if cost[0] < left[0] else left[0], cost[1] if cost[1] < left[1] else left[1])
    for purse in reservation.purses.each:
        unit = purse.in_tokens
        purse.open_calls -= 1
        purse.settled += cost[unit]
        if purse.hard:
            purse.consumed += consumed[unit]
            purse.free += left[unit] - consumed[unit]
            purse.lost += kept[unit]
    return kept


def overran(reservation: Reservation, cost: tuple[int, int], kept: tuple[int, int]) -> bool:
    """Whether the call has cost more than was reserved, at any hard purse."""
    return any(
        purse.hard and cost[purse.in_tokens] + kept[purse.in_tokens] > reservation.at(purse)
        for purse in reservation.purses.each
    )
