"""Who pays: an upper bound is reserved at every budget before a call is sent, and settled when it is over.

Two places of the pipeline. `Budgets` stands before fallbacks and retries: it admits the call or answers 402, and
settles all of its attempts at the end, whatever became of them. `Budgets.each_attempt` stands behind them: an attempt
for which the reservation is not enough (an earlier one may have been billed, or a dearer model is tried) reserves more,
or is not made. A call without a budget passes both for a look into a dictionary.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractAsyncContextManager
from types import TracebackType

import msgspec

from freehold.calls import Attempted, Call, Caller, Handler, NotAnswered, Reply
from freehold.clock import Clock
from freehold.errors import FreeholdError, InvalidRequest
from freehold.gateway.attempts import attempts_of
from freehold.gateway.spending import Paid, Spending, note_paid
from freehold.ledger.bank import Refusal
from freehold.ledger.bounds import Bound, Bounds
from freehold.ledger.definitions import Who
from freehold.ledger.ledger import Found, Ledger
from freehold.ledger.manage import refused
from freehold.ledger.purse import Reservation
from freehold.ledger.rates import Rates

NOTE = "budgets"
_MOST_ID_CHARS = 200
_NO_BOUND = Bound(0, 0, 0)


class Paying(msgspec.Struct):
    """The note on a call that budgets apply to."""

    reservation: Reservation
    found: Found
    bound: Bound | None
    """Of its first attempt; `None` where only soft budgets apply."""
    body: bytes
    model: str
    spending: Spending = msgspec.field(default_factory=Spending)
    attempted: bool = False


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
            if call.route != "messages" or call.caller is None:
                return inner(call)  # counting tokens is free
            definitions = self.ledger.definitions
            if not definitions.knows_key(call.caller.key_id):
                return _Budgeted(self, inner, call, call.caller, None)
            if not definitions.any:
                return inner(call)
            found = self.look(call, call.caller)
            return _Budgeted(self, inner, call, call.caller, found) if found.purses else inner(call)

        return handle

    def each_attempt(self, inner: Handler) -> Handler:
        """The second place, as a `Middleware`."""

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            paying = call.notes.get(NOTE)
            return _Attempt(self, inner, call, paying) if isinstance(paying, Paying) else inner(call)

        return handle

    def bound(self, call: Call, found: Found, now_us: int) -> Bound | None:
        """The bound of one attempt. Raises `InvalidRequest` where there is none and a hard budget applies."""
        if not found.hard:
            return None
        bound = self.bounds.of(call, now_us)
        if bound.nanodollars is None and found.hard_money:
            raise InvalidRequest(
                f"model: no price is known for {call.model[:100]!r}, so a hard budget in money cannot admit it. Use "
                f"another model, or have the budget made soft or in tokens."
            )
        return bound

    def look(self, call: Call, caller: Caller) -> Found:
        """Where the call counts."""
        return self.ledger.find(_who(call, caller), self.clock.now_us())

    async def learn(self, call: Call, caller: Caller) -> Found:
        """The same for a key that is seen for the first time."""
        await self.ledger.definitions.learn_key(caller.key_id)
        return self.look(call, caller)

    def reserve_at_once(self, call: Call, found: Found) -> Paying | None:
        """Admit the call out of local escrow; `None`: it is not enough. Raises `InvalidRequest`."""
        bound = self.bound(call, found, self.clock.now_us())
        most = bound or _NO_BOUND
        purses, model = found.purses, call.model
        reservation = self.ledger.bank.reserve(purses, most.nanodollars or 0, most.tokens, call.request_id, model)
        return None if reservation is None else _note(call, Paying(reservation, found, bound, call.body, model))

    async def reserve(self, call: Call, found: Found) -> Paying:
        """Admit the call after all, with a commit. Raises `BillingRefused`, `InvalidRequest`, `Unavailable`."""
        bound = self.bound(call, found, self.clock.now_us())
        most = bound or _NO_BOUND
        amounts = (found.purses, most.nanodollars or 0, most.tokens, call.request_id, call.model)
        try:
            reservation = await self.ledger.draw(*amounts)
        except Refusal as refusal:
            raise refused(refusal, self.ledger.definitions) from None
        return _note(call, Paying(reservation, found, bound, call.body, call.model))

    def settle(self, call: Call, paying: Paying) -> None:
        """The call is over."""
        spent = paying.spending
        self.ledger.bank.finish(
            paying.reservation,
            (spent.nanodollars, spent.tokens),
            (spent.kept_nanodollars, spent.kept_tokens),
            call.request_id,
            call.model,
        )
        reserved = paying.reservation.nanodollars if paying.found.hard_money else None
        note_paid(call, Paid(reserved, spent.nanodollars, spent.settlement))


class _Budgeted:
    __slots__ = ("_budgets", "_call", "_caller", "_context", "_found", "_inner", "_paying")

    def __init__(self, budgets: Budgets, inner: Handler, call: Call, caller: Caller, found: Found | None) -> None:
        self._budgets = budgets
        self._inner = inner
        self._call = call
        self._caller = caller
        self._found = found
        self._paying: Paying | None = None

    async def __aenter__(self) -> Reply:
        budgets, call, found = self._budgets, self._call, self._found
        if found is None:
            found = await budgets.learn(call, self._caller)
        if found.purses:
            self._paying = budgets.reserve_at_once(call, found) or await budgets.reserve(call, found)
        try:
            self._context = self._inner(self._call)
            reply = await self._context.__aenter__()
        except BaseException:
            self._settle()
            raise
        if self._paying is not None:
            _say(reply, self._paying.found)
        return reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._context.__aexit__(kind, error, trace)
        finally:
            self._settle()

    def _settle(self) -> None:
        if self._paying is not None:
            self._budgets.settle(self._call, self._paying)


class _Attempt:
    __slots__ = ("_bound", "_budgets", "_call", "_context", "_inner", "_paying")

    def __init__(self, budgets: Budgets, inner: Handler, call: Call, paying: Paying) -> None:
        self._budgets = budgets
        self._inner = inner
        self._call = call
        self._paying = paying
        self._bound = paying.bound

    async def __aenter__(self) -> Reply:
        paying = self._paying
        spending = paying.spending
        if paying.attempted or self._call.body is not paying.body or self._call.model != paying.model:
            await self._cover()
        paying.attempted = True
        try:
            self._context = self._inner(self._call)
            return await self._context.__aenter__()
        except NotAnswered as error:
            if error.attempted is not Attempted.NOT_SENT:
                spending.keep(self._bound)
            raise
        except FreeholdError:
            raise  # nothing was begun
        except BaseException:
            spending.keep(self._bound)  # it was on its way when the client left, or something broke
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._context.__aexit__(kind, error, trace)
        finally:
            attempt = attempts_of(self._call)[-1]
            budgets = self._budgets
            self._paying.spending.answered(attempt, self._bound, budgets.rates, budgets.clock.now_us())

    async def _cover(self) -> None:
        """See that the reservation covers this attempt besides what earlier ones have cost or may have cost."""
        call, paying, budgets = self._call, self._paying, self._budgets
        if paying.bound is None:
            return
        if call.body is not paying.body or call.model != paying.model:
            self._bound = budgets.bound(call, paying.found, budgets.clock.now_us()) or _NO_BOUND
        bound, spent, held = self._bound or _NO_BOUND, paying.spending, paying.reservation
        nanodollars = spent.nanodollars + spent.kept_nanodollars + (bound.nanodollars or 0) - held.nanodollars
        tokens = spent.tokens + spent.kept_tokens + bound.tokens - held.tokens
        if nanodollars <= 0 and tokens <= 0:
            return
        try:
            await budgets.ledger.add(held, max(0, nanodollars), max(0, tokens), call.request_id, call.model)
        except Refusal as refusal:
            cause = refused(refusal, budgets.ledger.definitions)
            raise NotAnswered(Attempted.NOT_SENT, cause) from None


def _note(call: Call, paying: Paying) -> Paying:
    call.notes[NOTE] = paying
    return paying


def _who(call: Call, caller: Caller) -> Who:
    user_id = call.user_id
    if user_id is not None and (len(user_id) > _MOST_ID_CHARS or "\0" in user_id):
        user_id = f"sha256:{hashlib.sha256(user_id.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return Who(caller.workspace_id, caller.key_id, user_id or None, call.session_id, call.batch_id)


def _say(reply: Reply, found: Found) -> None:
    """What is left after this call's reservation, where it is least."""
    money = tokens = None
    for purse in found.purses:
        if not purse.hard:
            continue
        left = purse.room + purse.free
        if purse.in_tokens:
            tokens = left if tokens is None else min(tokens, left)
        else:
            money = left if money is None else min(money, left)
    if money is not None:
        reply.headers.append((b"x-freehold-budget-remaining-nanodollars", b"%d" % money))
    if tokens is not None:
        reply.headers.append((b"x-freehold-budget-remaining-tokens", b"%d" % tokens))
