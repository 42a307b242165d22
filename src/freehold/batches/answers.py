"""One item of a batch put to the Handler: finished, to be tried again, or a reason to pause the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from freehold.batches import lines
from freehold.batches.pace import Pace
from freehold.batches.requests import For, call_of
from freehold.calls import Call, Caller, Handler, Headers, NotAnswered
from freehold.clock import Clock
from freehold.errors import BillingRefused, FreeholdError
from freehold.ids import NewId
from freehold.store.batch_work import Again, Claimed, Done
from freehold.wire.envelopes import error_body, error_of
from freehold.wire.facts import Usage
from freehold.wire.headers import retry_after_s
from freehold.wire.tap import of_whole

Price = Callable[[str | None, Usage, int], int | None]
"""Nanodollars from model, usage and time; `None`: no price is known."""
BUSY = frozenset({429, 503, 529})
"""The upstream has no room now: tried again until the batch expires, without being counted as a failure."""
FAILED = frozenset({408, 500, 502, 504})
"""Counted, and tried again so many times."""
_LONGEST_PAUSE_S = 60.0
_NO_USAGE = Usage()
_COST = b"x-freehold-cost-nanodollars"


@dataclass(frozen=True, slots=True)
class Paused:
    """No call of the batch can be made now (a budget, a refused key): it is to pause, and the item to wait."""

    why: str
    again: Again


Outcome = Done | Again | Paused


class Answers:
    """Makes the calls of items. `price` is for a Handler that does not say what an answer cost."""

    def __init__(self, handler: Handler, pace: Pace, *, clock: Clock, ids: NewId, price: Price, attempts: int) -> None:
        self._handler = handler
        self._pace = pace
        self._clock = clock
        self._ids = ids
        self._price = price
        self._attempts = attempts

    async def answer(self, item: Claimed, params: bytes, made_for: For) -> Outcome:
        """Call, and say what became of it. Never raises for what went wrong with the call."""
        request_id = self._ids("req")
        try:
            call = call_of(params, made_for, request_id=request_id, started_ns=self._clock.monotonic_ns())
        except FreeholdError as error:
            return self._refused(item, error, request_id)
        try:
            return await self._ask(item, call)
        except NotAnswered as error:
            return self._failed(item, error.cause, request_id)
        except FreeholdError as error:
            return self._failed(item, error, request_id)

    async def _ask(self, item: Claimed, call: Call) -> Outcome:
        async with self._handler(call) as reply:
            self._pace.heard(reply.status, reply.headers)
            body = reply.whole
            if body is None:
                error = FreeholdError("The upstream answered with a stream that nobody asked for.")
                return self._refused(item, error, call.request_id)
            if reply.status < 400:
                return self._succeeded(item, call, body, reply.headers)
            if reply.status == 401:  # ours was checked when the batch was made: it is the server's own that is refused
                why = f"The upstream refuses this server's key: {error_of(401, body).message}"
                return Paused(why, Again(item.idx, item.attempt, 0, item.failures))
            if reply.status in BUSY or reply.status in FAILED:
                again = self._again(item, reply.status, reply.headers)
                if again is not None:
                    return again
            line = lines.answered_with_error(item.custom_id, reply.status, body, call.request_id)
            return Done(item.idx, item.attempt, "errored", line)

    def _succeeded(self, item: Claimed, call: Call, body: bytes, headers: Headers) -> Done:
        facts = of_whole(200, body)
        usage = facts.usage or _NO_USAGE
        cost = _cost(headers)
        if cost is None and facts.usage is not None:
            cost = self._price(facts.model or call.model, usage, self._clock.now_us())
        return Done(
            item.idx,
            item.attempt,
            "succeeded",
            lines.succeeded(item.custom_id, body),
            whole_input(usage),
            usage.output_tokens,
            usage.cache_read_tokens,
            cost,
            (self._clock.monotonic_ns() - call.started_ns) // 1_000_000,
            self._saved(facts.model or call.model, usage, cost),
        )

    def _saved(self, model: str, usage: Usage, cost: int | None) -> int:
        if cost is None:
            return 0
        return saved(lambda plain: self._price(model, plain, self._clock.now_us()), usage, cost)

    def _failed(self, item: Claimed, error: FreeholdError, request_id: str) -> Outcome:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in error.headers.items()]
        self._pace.heard(error.status, headers)
        if isinstance(error, BillingRefused):
            return Paused(error.message, Again(item.idx, item.attempt, 0, item.failures))
        again = self._again(item, error.status, headers)
        return again if again is not None else self._refused(item, error, request_id)

    def _refused(self, item: Claimed, error: FreeholdError, request_id: str) -> Done:
        return Done(item.idx, item.attempt, "errored", lines.errored(item.custom_id, error_body(error, request_id)))

    def _again(self, item: Claimed, status: int, headers: Headers) -> Again | None:
        failures = item.failures + (status in FAILED)
        if status not in BUSY and (status not in FAILED or failures >= self._attempts):
            return None
        now_us = self._clock.now_us()
        own_s = min(_LONGEST_PAUSE_S, 0.5 * 2.0 ** min(item.attempt, 10))
        wait_s = min(_LONGEST_PAUSE_S, retry_after_s(headers, now_us) or own_s)
        return Again(item.idx, item.attempt, now_us + round(wait_s * 1_000_000), failures)


def whole_input(usage: Usage) -> int:
    """All tokens of an input: those after the last breakpoint, written to the cache, and read from it."""
    return usage.input_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens + usage.cache_read_tokens


def saved(price: Callable[[Usage], int | None], usage: Usage, cost: int) -> int:
    """Nanodollars that the cache spared a call that cost so much, less what it paid to write there."""
    whole = whole_input(usage)
    if whole == usage.input_tokens or usage.iterations:
        return 0
    plain = replace(usage, input_tokens=whole, cache_write_5m_tokens=0, cache_write_1h_tokens=0, cache_read_tokens=0)
    without = price(plain)
    return 0 if without is None else without - cost


def of_batch(batch_id: str, workspace_id: str, key_id: str, kept: Mapping[str, str]) -> For:
    """Whom the calls of a batch are for, from its row. `kept` is what `lifecycle.kept_headers` made."""
    named = {"x-freehold-user-id", "x-freehold-task-type", "x-freehold-source"}
    headers = [(name.encode(), value.encode("latin-1")) for name, value in kept.items() if name not in named]
    return For(
        batch_id,
        Caller(workspace_id, key_id, "member"),
        headers,
        kept.get("x-freehold-user-id"),
        kept.get("x-freehold-task-type"),
        kept.get("x-freehold-source"),
    )


def _cost(headers: Headers) -> int | None:
    for name, value in headers:
        if name == _COST:
            return int(value)
    return None
