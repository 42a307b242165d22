"""Asking the next upstream or model of a route when one fails, as long as nothing has been handed on.

Each leg of a route has its own retries and attempt meter behind it. What makes the next one be asked: no reply, a
status that may be better elsewhere (429, 5xx, 529), or such an error at the beginning of a stream that is held back.
An upstream that keeps failing is skipped by its circuit breaker. When no leg is left, the last answer leaves as it
came.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType

import msgspec

from freehold.calls import Attempted, Call, Handler, NotAnswered, Reply
from freehold.clock import Clock
from freehold.errors import FreeholdError, Unavailable
from freehold.gateway.attempts import attempts_of
from freehold.gateway.backoff import RETRYABLE
from freehold.gateway.breaker import Breaker
from freehold.gateway.routed import ROUTE
from freehold.gateway.routes import FallbackSettings, Leg, Route, route_for
from freehold.wire.envelopes import parse_fields, replace_fields


@dataclass(frozen=True, slots=True)
class Way:
    """The way to one upstream. `hasty` is taken where another leg follows: it does not wait long for a retry."""

    patient: Handler
    hasty: Handler


class Fallbacks:
    """The innermost handler of a server with several upstreams; `ways` by the name of the upstream."""

    def __init__(
        self, ways: Mapping[str, Way], routes: tuple[Route, ...], settings: FallbackSettings, clock: Clock
    ) -> None:
        self.ways = ways
        self.routes = routes
        self.clock = clock
        self.breakers = {name: Breaker(settings.breaker_failures, settings.breaker_cool_down_s) for name in ways}

    def __call__(self, call: Call) -> AbstractAsyncContextManager[Reply]:
        """See `Handler`."""
        return _Routed(self, call, route_for(self.routes, call.model))

    def open_legs(self, legs: Sequence[Leg]) -> list[Leg]:
        """Those that may be asked now."""
        now_ns = self.clock.monotonic_ns()
        return [leg for leg in legs if self.breakers[leg.upstream].admits(now_ns)]

    def none_left(self, route: Route) -> Unavailable:
        """Every breaker is open."""
        now_ns = self.clock.monotonic_ns()
        after_s = max(1, math.ceil(min(self.breakers[leg.upstream].left_s(now_ns) for leg in route.legs)))
        message = f"Every upstream of the route {route.pattern!r} has failed lately. Try again in {after_s} s."
        return Unavailable(message, headers={"retry-after": str(after_s)})


class _Routed:
    __slots__ = ("_breaker", "_call", "_context", "_fallbacks", "_route")

    def __init__(self, fallbacks: Fallbacks, call: Call, route: Route) -> None:
        self._fallbacks = fallbacks
        self._call = call
        self._route = route

    async def __aenter__(self) -> Reply:
        legs = self._fallbacks.open_legs(self._route.legs)
        if not legs:
            raise self._fallbacks.none_left(self._route)
        while True:
            leg, *legs = legs
            legs = self._fallbacks.open_legs(legs)
            reply = await self._ask(leg, more=bool(legs))
            if reply is not None:
                _say_route(reply, _printable(self._route.pattern))
                return reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if isinstance(error, FreeholdError) and error.status >= 500:  # a stream that broke off
            self._breaker.failed(self._fallbacks.clock.monotonic_ns())
        return await self._context.__aexit__(kind, error, trace)

    async def _ask(self, leg: Leg, *, more: bool) -> Reply | None:
        """The answer of that leg; `None`: it failed, and there are more to ask."""
        way = self._fallbacks.ways[leg.upstream]
        call = _asking_for(self._call, leg.model)
        self._breaker = breaker = self._fallbacks.breakers[leg.upstream]
        self._context = (way.hasty if more else way.patient)(call)
        breaker.enter()
        try:
            reply = await self._context.__aenter__()
        except NotAnswered as error:
            self._judge(error.cause.status)
            if more and error.attempted is not Attempted.BEGUN and error.cause.status in RETRYABLE:
                return None
            raise
        except BaseException:
            breaker.told_nothing()
            raise
        status = _status_of(reply, call)
        self._judge(status)
        if status not in RETRYABLE or not more:
            return reply
        await self._context.__aexit__(None, None, None)
        return None

    def _judge(self, status: int) -> None:
        """A 429 is no sign of sickness, nor is any other error that the request itself has caused."""
        if status >= 500:
            self._breaker.failed(self._fallbacks.clock.monotonic_ns())
        elif status in (402, 408):
            self._breaker.told_nothing()
        else:
            self._breaker.succeeded()


def _status_of(reply: Reply, call: Call) -> int:
    """That of the reply, or of the error at the beginning of its stream."""
    if reply.reads is None or reply.status >= 400:
        return reply.status
    failure = attempts_of(call)[-1].early_failure
    return reply.status if failure is None else failure.status


def _asking_for(call: Call, model: str | None) -> Call:
    """The same call for another model: only the bytes of its `model` differ. The notes are shared."""
    if model is None or model == call.model:
        return call
    body = replace_fields(call.body, call.fields, {"model": msgspec.json.encode(model)})
    return msgspec.structs.replace(call, body=body, fields=parse_fields(body), model=model)


def _say_route(reply: Reply, pattern: bytes) -> None:
    """Behind why the model was chosen, where it was."""
    chosen = next((value for name, value in reply.headers if name == ROUTE), None)
    if chosen is not None:
        reply.headers = [pair for pair in reply.headers if pair[0] != ROUTE]
    reply.headers.append((ROUTE, pattern if chosen is None else chosen + b"; route=" + pattern))


def _printable(pattern: str) -> bytes:
    return "".join(char if " " <= char <= "~" else "?" for char in pattern[:128]).encode("ascii")
