"""Who pays: an upper bound is reserved at every budget before a call is sent, and settled when it is over.

Two places of the pipeline. `Budgets` stands before fallbacks and retries: it admits the call or answers 402, and
settles all of its attempts at the end, whatever became of them. `Budgets.each_attempt` stands behind them: an attempt
for which the reservation is not enough (an earlier one may have been billed, or a dearer model is tried) reserves more,
or is not made. A call without a budget passes both for a look into a dictionary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from freehold.calls import Attempted, Call, Caller, Handler, NotAnswered, Reply
from freehold.clock import Clock
from freehold.errors import InvalidRequest
from freehold.gateway.attempts import attempts_of
from freehold.gateway.spending import EXACT, Spending, note_paid
from freehold.ledger.bank import Refusal
from freehold.ledger.bounds import Bound, Bounds
from freehold.ledger.definitions import Definitions, Who
from freehold.ledger.ledger import Ledger
from freehold.ledger.manage import refused
from freehold.ledger.purse import Purse, Purses, Reservation, is_ample
from freehold.ledger.rates import Rates

NOTE = "budgets"
_MOST_ID_CHARS = 200


class Budgets:
    """See the module."""

    def __init__(self, ledger: Ledger, bounds: Bounds, rates: Rates, clock: Clock) -> None:
        self.ledger = ledger
        self.bounds = bounds
        self.rates = rates
        self.clock = clock

    def __call__(self, inner: Handler) -> Handler:
        """See `Middleware`."""

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            caller = call.caller
            if call.route != "messages" or caller is None:
                return inner(call)  # counting tokens is free
            definitions = self.ledger.definitions
            if caller.key_id not in definitions.known_keys:
                return _Stranger(definitions, handle, call, caller.key_id)
            if not definitions.by_id:
                return inner(call)
            now_us = self.clock.now_us()
            purses = self.ledger.find(_who(call, caller), now_us)
            return _Paying(self, inner, call, purses, now_us) if purses.each else inner(call)

        return handle

    def each_attempt(self, inner: Handler) -> Handler:
        """The second place, as a `Middleware`."""

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            noted: Any = call.notes.get(NOTE)
            paying: _Paying | None = noted
            if paying is None:
                return inner(call)
            if paying.bounds or call.body is not paying.body:
                return _Further(paying, inner, call)
            paying.bounds.append(paying.bound)
            return inner(call)

        return handle

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


class _Paying:
    """A call that budgets apply to: admitted on its way in, settled when it is over. A note on the call, meanwhile."""

    __slots__ = (
        "_budgets",
        "_call",
        "_context",
        "_inner",
        "_now_us",
        "_purses",
        "_reservation",
        "body",
        "bound",
        "bounds",
    )

    def __init__(self, budgets: Budgets, inner: Handler, call: Call, purses: Purses, now_us: int) -> None:
        self._budgets = budgets
        self._inner = inner
        self._call = call
        self._purses = purses
        self._now_us = now_us
        self.body = call.body
        """What was admitted."""
        self.bounds: list[Bound | None] = []
        """Of its attempts so far, `None` where only soft budgets apply; as is `bound`, that of the first one."""

    async def __aenter__(self) -> Reply:
        call, purses, budgets, now_us = self._call, self._purses, self._budgets, self._now_us
        bound = budgets.bounds.of(call, now_us, roughly=True) if purses.hard else None
        if bound is not None and (bound.rough or bound.nanodollars is None) and not _will_do(bound, purses):
            bound = budgets.exact(call, purses, now_us)
        self.bound = bound
        nanodollars, tokens = (bound.nanodollars or 0, bound.tokens) if bound is not None else (0, 0)
        reserved = budgets.ledger.bank.reserve(purses, nanodollars, tokens, call.request_id, call.model, now_us)
        self._reservation = reserved or await self._draw(nanodollars, tokens)
        call.notes[NOTE] = self
        try:
            self._context = context = self._inner(call)
            reply = await context.__aenter__()
        except BaseException:
            self._settle()
            raise
        _say(reply, purses)
        return reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._context.__aexit__(kind, error, trace)
        finally:
            self._settle()

    async def _draw(self, nanodollars: int, tokens: int) -> Reservation:
        """Reserve after all, with a commit. Raises `BillingRefused`, `Unavailable`."""
        ledger, call = self._budgets.ledger, self._call
        try:
            return await ledger.draw(self._purses, nanodollars, tokens, call.request_id, call.model)
        except Refusal as refusal:
            raise refused(refusal, ledger.definitions) from None

    async def cover(self, call: Call) -> None:
        """See that the reservation covers one more attempt, besides what earlier ones have cost or may have cost.

        Raises:
            NotAnswered: there is no room for it.
            InvalidRequest: it has no bound.
            Unavailable: the ledger cannot be written.
        """
        self._be_exact()
        bound = self.bound if call.body is self.body else self._exactly(call)
        if bound is not None:
            spent, held, ledger = self._added_up(), self._reservation, self._budgets.ledger
            nanodollars = spent.nanodollars + spent.kept_nanodollars + (bound.nanodollars or 0) - held.nanodollars
            tokens = spent.tokens + spent.kept_tokens + bound.tokens - held.tokens
            if nanodollars > 0 or tokens > 0:
                try:
                    await ledger.add(held, max(0, nanodollars), max(0, tokens), call.request_id, call.model)
                except Refusal as refusal:
                    raise NotAnswered(Attempted.NOT_SENT, refused(refusal, ledger.definitions)) from None
        self.bounds.append(bound)

    def _settle(self) -> None:
        call, reservation = self._call, self._reservation
        del call.notes[NOTE]  # which knows the call: else the two would keep each other
        spent = self._added_up()
        if spent.settlement != EXACT and self._be_exact():
            spent = self._added_up()
        cost, kept = (spent.nanodollars, spent.tokens), (spent.kept_nanodollars, spent.kept_tokens)
        self._budgets.ledger.bank.finish(reservation, cost, kept, call.request_id, call.model)
        note_paid(call, reservation.nanodollars if self._purses.hard_money else None, spent)

    def _added_up(self) -> Spending:
        """What the attempts have cost so far, or may have cost."""
        spent, rates, clock = Spending(), self._budgets.rates, self._budgets.clock
        attempts = attempts_of(self._call)
        first = len(attempts) - len(self.bounds)
        for place, bound in enumerate(self.bounds, first):
            spent.add(attempts[place], bound, rates, clock)
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
        return self._budgets.exact(call, self._purses, self._budgets.clock.now_us())


class _Further:
    """An attempt that is not the first one, or not of the call as it was admitted."""

    __slots__ = ("_call", "_context", "_inner", "_paying")

    def __init__(self, paying: _Paying, inner: Handler, call: Call) -> None:
        self._paying = paying
        self._inner = inner
        self._call = call

    async def __aenter__(self) -> Reply:
        await self._paying.cover(self._call)
        self._context = self._inner(self._call)
        return await self._context.__aenter__()

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Coroutine[Any, Any, bool | None]:
        return self._context.__aexit__(kind, error, trace)


class _Stranger:
    """The first call of a key: the budgets are read before it counts anywhere."""

    __slots__ = ("_call", "_context", "_definitions", "_handler", "_key_id")

    def __init__(self, definitions: Definitions, handler: Handler, call: Call, key_id: str) -> None:
        self._definitions = definitions
        self._handler = handler
        self._call = call
        self._key_id = key_id

    async def __aenter__(self) -> Reply:
        await self._definitions.learn_key(self._key_id)
        self._context = self._handler(self._call)
        return await self._context.__aenter__()

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Coroutine[Any, Any, bool | None]:
        return self._context.__aexit__(kind, error, trace)


def _will_do(bound: Bound, purses: Purses) -> bool:
    """Whether a call need not be read for a lower bound: there is plenty."""
    return bound.nanodollars is not None and is_ample(purses, bound.nanodollars, bound.tokens)


def _who(call: Call, caller: Caller) -> Who:
    user_id = call.user_id
    if user_id is not None and (len(user_id) > _MOST_ID_CHARS or "\0" in user_id):
        user_id = f"sha256:{hashlib.sha256(user_id.encode('utf-8', 'surrogatepass')).hexdigest()}"
    who = (caller.workspace_id, caller.key_id, user_id or None, call.session_id, call.batch_id)
    return tuple.__new__(Who, who)  # as `Who(…)`, which passes through a frame of Python's own


def _say(reply: Reply, purses: Purses) -> None:
    """What is left after this call's reservation, where it is least."""
    if purses.hard_money:
        reply.headers.append((b"x-freehold-budget-remaining-nanodollars", _least_left(purses.hard_money)))
    if purses.hard_tokens:
        reply.headers.append((b"x-freehold-budget-remaining-tokens", _least_left(purses.hard_tokens)))


def _least_left(purses: tuple[Purse, ...]) -> bytes:
    least = purses[0].room + purses[0].free
    for purse in purses:
        if purse.room + purse.free < least:
            least = purse.room + purse.free
    return b"%d" % least
