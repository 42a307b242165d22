"""What one process holds of one account, and the reservations of its calls. In memory, in arithmetic, nothing else.

A commit takes what is pending (`take`), and tells afterwards that it is durable (`committed`). Between the two, calls
go on reserving and settling against `free`.
"""

from __future__ import annotations

import msgspec

from freehold.ledger.protocol import Change
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

    def take(self) -> Change:
        """What is pending, no longer pending here."""
        change = Change(settled=self.settled, consumed=self.consumed, lost=self.lost)
        self.settled = self.consumed = self.lost = 0
        return change


class Reservation(msgspec.Struct, eq=False):
    """The bound of one call, at all of its purses. `amounts` go with `purses`; those of soft budgets are 0."""

    purses: tuple[Purse, ...]
    amounts: list[int]
    positions: list[int]
    """Of the purses, as the journal knows them."""
    slot: int = -1
    """Where the journal has it."""
    nanodollars: int = 0
    tokens: int = 0
    attempts: int = 1


def can_reserve(purses: tuple[Purse, ...], nanodollars: int, tokens: int) -> bool:
    """Whether local escrow is enough at every purse."""
    for purse in purses:
        if not purse.is_open or (purse.hard and purse.free < (tokens if purse.in_tokens else nanodollars)):
            return False
    return True


def reserve(purses: tuple[Purse, ...], nanodollars: int, tokens: int, now_us: int) -> Reservation:
    """Set the bound aside at every purse; `can_reserve` was true, with nothing in between."""
    amounts: list[int] = []
    positions: list[int] = []
    for purse in purses:
        amount = (tokens if purse.in_tokens else nanodollars) if purse.hard else 0
        purse.free -= amount
        purse.open_calls += 1
        purse.used_us = now_us
        if amount > purse.need:
            purse.need = amount
        amounts.append(amount)
        positions.append(purse.index)
    return Reservation(purses, amounts, positions, nanodollars=nanodollars, tokens=tokens)


def add(reservation: Reservation, nanodollars: int, tokens: int) -> None:
    """Set more aside for another attempt of the same call; `can_reserve` was true."""
    for place, purse in enumerate(reservation.purses):
        if purse.hard:
            amount = tokens if purse.in_tokens else nanodollars
            purse.free -= amount
            reservation.amounts[place] += amount
    reservation.nanodollars += nanodollars
    reservation.tokens += tokens
    reservation.attempts += 1


def finish(
    reservation: Reservation, nanodollars: int, tokens: int, lost_nanodollars: int, lost_tokens: int
) -> list[tuple[int, int]]:
    """The call is over: it has cost so much, and lost attempts of it keep so much. The rest is free again.

    Gives (cost, kept) at each purse. A cost above what was reserved is settled whole; `overran` finds that out.
    """
    told: list[tuple[int, int]] = []
    for purse, amount in zip(reservation.purses, reservation.amounts, strict=True):
        cost = tokens if purse.in_tokens else nanodollars
        kept = 0
        if purse.hard:
            kept = min(lost_tokens if purse.in_tokens else lost_nanodollars, amount)
            consumed = cost if cost <= amount - kept else amount - kept
            purse.consumed += consumed
            purse.free += amount - kept - consumed
            purse.lost += kept
        purse.settled += cost
        purse.open_calls -= 1
        told.append((cost, kept))
    return told


def overran(reservation: Reservation, told: list[tuple[int, int]]) -> bool:
    """Whether the call has cost more than was reserved, at any hard purse."""
    return any(
        purse.hard and cost + kept > amount
        for purse, amount, (cost, kept) in zip(reservation.purses, reservation.amounts, told, strict=True)
    )
