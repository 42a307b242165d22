"""What a call has cost by its attempts: exactly, at most, or nobody knows. Arithmetic over facts; no I/O."""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec.structs import replace

from freehold.calls import Call
from freehold.clock import Clock
from freehold.gateway.attempts import Attempt
from freehold.ledger.bounds import Bound
from freehold.ledger.rates import Rates
from freehold.wire.facts import Iteration, Usage

EXACT, BOUNDED, PARTIAL, LOST = "exact", "bounded", "partial", "lost"
_WEIGHT = {EXACT: 0, PARTIAL: 1, BOUNDED: 2, LOST: 3}


_PAID = "paid"


class Paid(NamedTuple):
    """What the row of a call says of budgets; nothing where none applied."""

    reserved_nanodollars: int | None = None
    settled_nanodollars: int | None = None
    settlement: str | None = None


_NOTHING = Paid()


def paid_of(call: Call) -> Paid:
    """What was noted."""
    found: Any = call.notes.get(_PAID, _NOTHING)
    paid: Paid = found
    return paid


class Spending:
    """The attempts of a call so far, added up. `kept` is what may have been billed though nobody knows."""

    __slots__ = ("kept_nanodollars", "kept_tokens", "nanodollars", "settlement", "tokens")

    def __init__(self) -> None:
        self.nanodollars = 0
        self.tokens = 0
        self.kept_nanodollars = 0
        self.kept_tokens = 0
        self.settlement = EXACT
        """How sure it is, by its least sure attempt."""

    def add(self, attempt: Attempt, bound: Bound | None, rates: Rates, clock: Clock) -> None:
        """One attempt that is over, or was lost. `bound` is `None` where only soft budgets apply."""
        facts = attempt.facts
        if attempt.status is None:
            if attempt.lost:
                self._keep(bound)
            return
        if attempt.status >= 400:
            return  # errors cost nothing
        usage = facts.usage
        if usage is None:
            if facts.error_type is None or facts.begun:
                self._keep(bound)
            return  # a stream that began with its error has cost nothing
        cost, tokens, settlement = attempt.cost_nanodollars or 0, tokens_of(usage), EXACT
        if bound is None:
            settlement = EXACT if facts.complete else PARTIAL
        elif not facts.complete or (attempt.cost_nanodollars is None and bound.nanodollars is not None):
            cost, tokens = _at_most(facts.model, usage, bound, rates, clock.now_us())
            settlement = BOUNDED
        self.nanodollars += cost
        self.tokens += tokens
        if settlement is not EXACT:
            self._note(settlement)

    def _keep(self, bound: Bound | None) -> None:
        """It may have cost up to its bound, or nothing."""
        if bound is not None:
            self.kept_nanodollars += bound.nanodollars or 0
            self.kept_tokens += bound.tokens
        self._note(LOST)

    def _note(self, settlement: str) -> None:
        if _WEIGHT[settlement] > _WEIGHT[self.settlement]:
            self.settlement = settlement


def note_paid(call: Call, reserved_nanodollars: int | None, spent: Spending) -> None:
    """Note it on the call."""
    paid = (reserved_nanodollars, spent.nanodollars, spent.settlement)
    call.notes[_PAID] = tuple.__new__(Paid, paid)


def _at_most(model: str | None, usage: Usage, bound: Bound, rates: Rates, now_us: int) -> tuple[int, int]:
    """What a stream that broke off may have cost: its prompt is known, its output may have gone on to the end."""
    whole = replace(usage, output_tokens=max(usage.output_tokens, bound.output_tokens))
    nanodollars = rates.cost(model, whole, now_us)
    most = bound.nanodollars or 0
    return (most if nanodollars is None else min(nanodollars, most)), min(tokens_of(whole), bound.tokens)


def tokens_of(usage: Usage) -> int:
    """All tokens: uncached, written, read, output; of every pass where there were several."""
    if usage.iterations:
        return sum(map(_tokens_of, usage.iterations))
    return _tokens_of(usage)


def _tokens_of(part: Usage | Iteration) -> int:
    written = part.cache_write_5m_tokens + part.cache_write_1h_tokens
    return part.input_tokens + written + part.cache_read_tokens + part.output_tokens
