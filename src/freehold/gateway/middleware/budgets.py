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
from freehold.gateway.paying import Desk, Paying
from freehold.ledger.bank import Refusal
from freehold.ledger.bounds import Bounds
from freehold.ledger.definitions import Definitions, Who
from freehold.ledger.ledger import Ledger
from freehold.ledger.manage import refused
from freehold.ledger.purse import Purses, Reservation
from freehold.ledger.rates import Rates

NOTE = "budgets"
_MOST_ID_CHARS = 200


class Budgets:
    """See the module."""

    def __init__(self, ledger: Ledger, bounds: Bounds, rates: Rates, clock: Clock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.desk = Desk(ledger.bank.till, bounds, rates, clock)

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
            return _Paid(self, inner, call, purses, now_us) if purses.each else inner(call)

        return handle

    def each_attempt(self, inner: Handler) -> Handler:
        """The second place, as a `Middleware`."""

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            noted: Any = call.notes.get(NOTE)
            paying: Paying | None = noted
            if paying is None:
                return inner(call)
            if paying.bounds or call.body is not paying.body:
                return _Further(self.ledger, paying, inner, call)
            paying.bounds.append(paying.bound)
            return inner(call)

        return handle


class _Paid:
    """A call that budgets apply to: admitted on its way in, settled when it is over; a note on the call, meanwhile."""

    __slots__ = ("_budgets", "_call", "_context", "_inner", "_now_us", "_paying", "_purses")

    def __init__(self, budgets: Budgets, inner: Handler, call: Call, purses: Purses, now_us: int) -> None:
        self._budgets = budgets
        self._inner = inner
        self._call = call
        self._purses = purses
        self._now_us = now_us

    async def __aenter__(self) -> Reply:
        call = self._call
        self._paying = paying = Paying(self._budgets.desk, call, self._purses, self._now_us)
        if paying.reservation is None:
            paying.reservation = await self._draw(paying)
        call.notes[NOTE] = paying
        try:
            self._context = context = self._inner(call)
            reply = await context.__aenter__()
        except BaseException:
            self._settle()
            raise
        paying.say(reply)
        return reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._context.__aexit__(kind, error, trace)
        finally:
            self._settle()

    def _settle(self) -> None:
        del self._call.notes[NOTE]  # which knows the call: else the two would keep each other
        self._paying.settle()

    async def _draw(self, paying: Paying) -> Reservation:
        """Reserve after all, with a commit. Raises `BillingRefused`, `Unavailable`."""
        ledger, call = self._budgets.ledger, self._call
        try:
            return await ledger.draw(paying.purses, paying.nanodollars, paying.tokens, call.request_id, call.model)
        except Refusal as refusal:
            raise refused(refusal, ledger.definitions) from None


class _Further:
    """An attempt that is not the first one, or not of the call as it was admitted."""

    __slots__ = ("_call", "_context", "_inner", "_ledger", "_paying")

    def __init__(self, ledger: Ledger, paying: Paying, inner: Handler, call: Call) -> None:
        self._ledger = ledger
        self._paying = paying
        self._inner = inner
        self._call = call

    async def __aenter__(self) -> Reply:
        await self._cover()
        self._context = self._inner(self._call)
        return await self._context.__aenter__()

    async def _cover(self) -> None:
        """See that the reservation covers this attempt, besides what earlier ones have cost or may have cost.

        Raises:
            NotAnswered: there is no room for it.
            InvalidRequest: it has no bound.
            Unavailable: the ledger cannot be written.
        """
        call, paying, ledger = self._call, self._paying, self._ledger
        bound = paying.bound_of(call)
        nanodollars, tokens = paying.lacks(bound)
        if nanodollars or tokens:
            try:
                await ledger.add(paying.held(), nanodollars, tokens, call.request_id, call.model)
            except Refusal as refusal:
                raise NotAnswered(Attempted.NOT_SENT, refused(refusal, ledger.definitions)) from None
        paying.bounds.append(bound)

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


def _who(call: Call, caller: Caller) -> Who:
    user_id = call.user_id
    if user_id is not None and (len(user_id) > _MOST_ID_CHARS or "\0" in user_id):
        user_id = f"sha256:{hashlib.sha256(user_id.encode('utf-8', 'surrogatepass')).hexdigest()}"
    who = (caller.workspace_id, caller.key_id, user_id or None, call.session_id, call.batch_id)
    return tuple.__new__(Who, who)  # as `Who(…)`, which passes through a frame of Python's own
