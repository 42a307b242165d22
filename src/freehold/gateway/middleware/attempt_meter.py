"""The innermost middleware: what one attempt at one upstream asked, got and used. The only one that reads every byte.

It also says in the answer's headers who answered and, for whole answers, at what cost.
"""

from __future__ import annotations

import functools
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from freehold.calls import Attempted, Call, Handler, Headers, NotAnswered, Reply
from freehold.clock import Clock
from freehold.errors import FreeholdError
from freehold.gateway.attempts import Attempt, attempts_of
from freehold.gateway.routed import ROUTE, said_of
from freehold.ledger.rates import Rates
from freehold.wire.facts import Facts
from freehold.wire.headers import REQUEST_ID, first
from freehold.wire.reads import NotedReads
from freehold.wire.tap import of_whole


class AttemptMeter:
    """Notes an `Attempt` on the call, whatever becomes of it. `upstream` is the name it stands under."""

    def __init__(self, upstream: str, rates: Rates, clock: Clock) -> None:
        self.upstream = upstream
        self.rates = rates
        self.clock = clock

    def __call__(self, inner: Handler) -> Handler:
        """See `Middleware`."""

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            return _Metered(self, inner, call)

        return handle


class _Metered:
    __slots__ = ("_attempt", "_call", "_context", "_inner", "_meter")

    def __init__(self, meter: AttemptMeter, inner: Handler, call: Call) -> None:
        self._meter = meter
        self._inner = inner
        self._call = call
        self._attempt = Attempt(meter.upstream, call.model, meter.clock.monotonic_ns())

    async def __aenter__(self) -> Reply:
        attempt = self._attempt
        attempts_of(self._call).append(attempt)
        try:
            self._context = context = self._inner(self._call)
            reply = await context.__aenter__()
        except BaseException as error:
            attempt.lost = _may_be_billed(error)
            raise
        attempt.status = reply.status
        attempt.upstream_request_id = first(reply.headers, REQUEST_ID)
        if reply.whole is not None:
            attempt.first_read_ns = self._meter.clock.monotonic_ns()
            attempt.whole = of_whole(reply.status, reply.whole)
            self._price(attempt.whole)
        elif reply.reads is not None:
            reply.reads = NotedReads(reply.reads, attempt.reading(self._meter.clock))
        self._say(reply)
        return reply

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Coroutine[Any, Any, bool | None]:
        if self._attempt.tap is not None:
            self._price(self._attempt.tap.facts)
        return self._context.__aexit__(kind, error, trace)

    def _price(self, facts: Facts) -> None:
        """What the answer cost by now; a stream is priced when it is over, however it ended."""
        attempt, rates = self._attempt, self._meter.rates
        if facts.usage is not None:
            attempt.cost_nanodollars = cost = rates.cost(facts.model, facts.usage, self._meter.clock.now_us())
            attempt.price_version = rates.version if cost is not None else None

    def _say(self, reply: Reply) -> None:
        attempt = self._attempt
        answered = attempt.whole.model if attempt.whole is not None else None
        reply.headers += _said(attempt.upstream, answered or attempt.model)
        if attempt.cost_nanodollars is not None:
            reply.headers.append((b"x-freehold-cost-nanodollars", b"%d" % attempt.cost_nanodollars))
        said = said_of(self._call)
        if said is not None:
            reply.headers.append((ROUTE, said))


def _may_be_billed(error: BaseException) -> bool:
    """Whether an attempt that ended so may have reached the model; other errors of an upstream say that nothing did."""
    if isinstance(error, NotAnswered):
        return error.attempted is not Attempted.NOT_SENT
    return not isinstance(error, FreeholdError)


@functools.lru_cache(maxsize=1024)
def _said(upstream: str, model: str) -> Headers:
    return [(b"x-freehold-upstream", _header_value(upstream)), (b"x-freehold-model", _header_value(model))]


def _header_value(text: str) -> bytes:
    """A model's name comes from outside: what a header cannot hold becomes `?`."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:128]).encode("ascii")
