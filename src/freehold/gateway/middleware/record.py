"""The outermost middleware: every call leaves one row, refused and failed ones and those whose client left included.

The row goes to the store's writer as a tuple; nobody waits for it, and nothing is logged for a call that went well.
"""

from __future__ import annotations

import asyncio
import functools
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from freehold.calls import Call, Handler, NotAnswered, Reply
from freehold.clock import Clock
from freehold.errors import FreeholdError
from freehold.gateway.attempts import Attempt, attempts_of
from freehold.gateway.routed import decided_of
from freehold.gateway.spending import paid_of
from freehold.store.calls import CallRow, TakesRows, add_call
from freehold.telemetry.calls import CallMetrics, Ended
from freehold.wire.facts import Facts, Usage

CLIENT_LEFT = 499
"""The status of a call whose client went away before its answer was complete."""
_NO_ATTEMPT = Attempt("", "", 0)
_LEFT = (asyncio.CancelledError, GeneratorExit)
_Tokens = tuple[int | None, int | None, int | None, int | None, int | None, int | None]
_NO_TOKENS: _Tokens = (None, None, None, None, None, None)


class Record:
    """Writes the row when the call is over, and turns `NotAnswered` into what the client is told."""

    def __init__(self, store: TakesRows, clock: Clock, metrics: CallMetrics | None = None) -> None:
        self._metrics = metrics or CallMetrics()
        self._store = store
        self._clock = clock

    def __call__(self, inner: Handler) -> Handler:
        """See `Middleware`."""

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            self._metrics.open += 1
            if call.batch_id is not None:
                self._metrics.open_of_batches += 1
            return _Recorded(self, inner, call)

        return handle

    def write(self, call: Call, reply: Reply | None, error: BaseException | None) -> None:
        """Add the row of this call, which ends now."""
        attempts = attempts_of(call)
        last = attempts[-1] if attempts else _NO_ATTEMPT
        facts = last.facts
        status, error_type = _outcome(reply, error, facts)
        latency_us = (self._clock.monotonic_ns() - call.started_ns) // 1000
        first_ns = call.first_byte_ns or last.first_read_ns
        caller = call.caller
        usage = facts.usage
        tokens = _NO_TOKENS if usage is None else _tokens(usage)
        first_us = (first_ns - call.started_ns) // 1000 if first_ns is not None else None
        row = tuple.__new__(  # as `CallRow(…)`, which passes through a frame of Python's own
            CallRow,
            (
                call.request_id,
                caller.workspace_id if caller is not None else None,
                caller.key_id if caller is not None else None,
                call.session_id,
                _text(call.user_id, 256) if call.user_id else None,
                _text(call.task_type, 64) if call.task_type else None,
                _text(call.source, 128) if call.source else None,
                call.route,
                _text(call.model, 128),
                _text(facts.model, 128),
                last.upstream or None,
                call.stream,
                status,
                _text(error_type, 64) if error_type else None,
                _text(facts.stop_reason, 64),
                len(attempts),
                *tokens,
                last.cost_nanodollars,
                last.price_version,
                "none" if usage is None else "exact" if facts.complete else "partial",
                latency_us,
                first_us,
                last.upstream_request_id and last.upstream_request_id[:128].replace("\0", ""),
                self._clock.now_us() - latency_us,
                *paid_of(call),
                *decided_of(call),
            ),
        )
        add_call(self._store, row)
        self._metrics.open -= 1
        if call.batch_id is not None:
            self._metrics.open_of_batches -= 1
        cost, answered = last.cost_nanodollars, row.model_answered or ""
        ended = Ended(
            call.route, last.upstream, answered, status, call.stream, len(attempts), latency_us, first_us, tokens, cost
        )
        self._metrics.ended(ended)


class _Recorded:
    __slots__ = ("_call", "_context", "_inner", "_record", "_reply")

    def __init__(self, record: Record, inner: Handler, call: Call) -> None:
        self._record = record
        self._inner = inner
        self._call = call

    async def __aenter__(self) -> Reply:
        try:
            self._context = self._inner(self._call)
            self._reply = await self._context.__aenter__()
        except NotAnswered as error:
            self._record.write(self._call, None, error.cause)
            raise error.cause from error
        except BaseException as error:
            self._record.write(self._call, None, error)
            raise
        return self._reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._context.__aexit__(kind, error, trace)
        finally:
            self._record.write(self._call, self._reply, error)


def _outcome(reply: Reply | None, error: BaseException | None, facts: Facts) -> tuple[int, str | None]:
    """Status and error type of the call as a whole, whatever the client could still be told."""
    if error is not None and not (facts.complete and isinstance(error, _LEFT)):
        return _failure(error)
    if reply is None:
        return CLIENT_LEFT, "client_left"
    if facts.error_type is None and reply.status < 400 and not facts.complete:
        return reply.status, "incomplete_stream" if reply.reads is not None else "incomplete_answer"
    return reply.status, facts.error_type


def _failure(error: BaseException) -> tuple[int, str]:
    if isinstance(error, FreeholdError):
        return error.status, error.type
    return (CLIENT_LEFT, "client_left") if isinstance(error, _LEFT) else (500, "api_error")


def _tokens(usage: Usage) -> _Tokens:
    """In the order of the columns, from `input_tokens` to `web_searches`."""
    return (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_write_5m_tokens,
        usage.cache_write_1h_tokens,
        usage.cache_read_tokens,
        usage.web_searches,
    )


@functools.lru_cache(maxsize=4096)
def _text(value: str | None, most: int) -> str | None:
    """As the column takes it: no longer, and without NUL, which PostgreSQL does not store. Most come again."""
    if not value:
        return None
    return value[:most].replace("\0", "")
