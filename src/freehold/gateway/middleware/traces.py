"""Spans of calls: one for the call, below it one for each attempt at an upstream; in the caller's trace, if it has one.

Content is never in a span. A call that is not traced costs a look at its headers and a random number.
"""

from __future__ import annotations

import random
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from freehold.calls import Call, Handler, NotAnswered, Reply
from freehold.clock import Clock
from freehold.errors import FreeholdError
from freehold.gateway.attempts import Attempt, attempts_of
from freehold.telemetry.spans import Attributes, Place, Span, TakesSpans, is_chosen, new_place, new_span_id
from freehold.telemetry.traceparent import HEADER, header, parsed
from freehold.telemetry.turns import session_place
from freehold.wire.headers import first

_NOTHING: Attributes = {}
_OPERATIONS = {"messages": "chat", "count_tokens": "count_tokens"}


class Traces:
    """Outermost but for the record. `share`: of the calls whose caller does not decide."""

    def __init__(self, take: TakesSpans, share: float, clock: Clock) -> None:
        self._take = take
        self._share = share
        self._clock = clock

    def __call__(self, inner: Handler) -> Handler:
        """See `Middleware`."""

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            chosen = self._chosen(call)
            if chosen is None:
                return inner(call)
            place, parent = chosen
            call.headers = [*(pair for pair in call.headers if pair[0] != HEADER), (HEADER, header(place))]
            return _Traced(self, inner, call, place, parent)

        return handle

    def _chosen(self, call: Call) -> tuple[Place, Place | None] | None:
        """Where the span of this call stands, or `None` where it is not traced."""
        sent = first(call.headers, HEADER)
        caller = parsed(sent.encode("latin-1")) if sent is not None else None
        if caller is not None:
            parent, traced = caller
            return (Place(parent.trace_id, new_span_id()), parent) if traced else None
        if call.session_id is not None:
            session = session_place(call.session_id)
            return (Place(session.trace_id, new_span_id()), None) if is_chosen(session, self._share) else None
        return (new_place(), None) if random.random() < self._share else None

    def end(self, call: Call, place: Place, parent: Place | None, reply: Reply | None, failed: str | None) -> None:
        """The call is over: its spans, the attempts' first."""
        now_ns, monotonic_ns = self._clock.now_us() * 1000, self._clock.monotonic_ns()
        attempts, facts = attempts_of(call), _NOTHING
        ends = [*(attempt.started_ns for attempt in attempts[1:]), monotonic_ns]
        for attempt, end_ns in zip(attempts, ends, strict=False):
            start = now_ns - (monotonic_ns - attempt.started_ns)
            name, below = f"chat {attempt.model}", Place(place.trace_id, new_span_id())
            facts, error = _attempted(attempt), attempt.facts.error_type
            if attempt.status is None:
                error = error or "no_answer"
            until = now_ns - (monotonic_ns - end_ns)
            self._take(Span(name, below, place, start, until, "client", facts, error))
        began = now_ns - (monotonic_ns - call.started_ns)
        name = f"{_OPERATIONS[call.route]} {call.model}".strip()
        self._take(Span(name, place, parent, began, now_ns, "server", {**_described(call, reply), **facts}, failed))


class _Traced:
    __slots__ = ("_call", "_context", "_inner", "_parent", "_place", "_reply", "_traces")

    def __init__(self, traces: Traces, inner: Handler, call: Call, place: Place, parent: Place | None) -> None:
        self._traces = traces
        self._inner = inner
        self._call = call
        self._place = place
        self._parent = parent

    async def __aenter__(self) -> Reply:
        try:
            self._context = self._inner(self._call)
            self._reply = await self._context.__aenter__()
        except BaseException as error:
            self._end(None, error)
            raise
        return self._reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._context.__aexit__(kind, error, trace)
        finally:
            self._end(self._reply, error)

    def _end(self, reply: Reply | None, error: BaseException | None) -> None:
        self._traces.end(self._call, self._place, self._parent, reply, _failure(self._call, reply, error))


def _failure(call: Call, reply: Reply | None, error: BaseException | None) -> str | None:
    if isinstance(error, NotAnswered):
        error = error.cause
    if isinstance(error, FreeholdError):
        return error.type
    if error is not None:
        return "client_left" if not isinstance(error, Exception) else type(error).__name__
    attempts = attempts_of(call)
    told = attempts[-1].facts.error_type if attempts else None
    return told or (str(reply.status) if reply is not None and reply.status >= 400 else None)


def _described(call: Call, reply: Reply | None) -> Attributes:
    """OpenTelemetry semantic conventions for generative AI, `gen_ai.*` (read 2026-11)."""
    attempts = attempts_of(call)
    known: dict[str, str | int | None] = {
        "gen_ai.operation.name": _OPERATIONS[call.route],
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": call.model,
        "gen_ai.conversation.id": call.session_id,
        "http.response.status_code": reply.status if reply is not None else None,
        "freehold.request_id": call.request_id,
        "freehold.workspace_id": call.caller.workspace_id if call.caller else None,
        "freehold.key_id": call.caller.key_id if call.caller else None,
        "freehold.task_type": call.task_type,
        "freehold.attempts": len(attempts),
        "freehold.cost_nanodollars": attempts[-1].cost_nanodollars if attempts else None,
    }
    return _without_none(known)


def _attempted(attempt: Attempt) -> Attributes:
    facts, usage = attempt.facts, attempt.facts.usage
    known: dict[str, str | int | None] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": attempt.model,
        "gen_ai.response.model": facts.model,
        "freehold.upstream": attempt.upstream,
        "freehold.upstream_request_id": attempt.upstream_request_id,
        "http.response.status_code": attempt.status,
    }
    if usage is not None:
        known["gen_ai.usage.input_tokens"] = usage.input_tokens
        known["gen_ai.usage.output_tokens"] = usage.output_tokens
        known["gen_ai.usage.cache_read.input_tokens"] = usage.cache_read_tokens
    reasons = (facts.stop_reason,) if facts.stop_reason else None
    return {**_without_none(known), **({"gen_ai.response.finish_reasons": reasons} if reasons else {})}


def _without_none(values: dict[str, str | int | None]) -> dict[str, str | int]:
    return {name: value for name, value in values.items() if value is not None}
