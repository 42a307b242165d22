"""What is kept and counted of a call that is over: its row, and its figures. Nothing here waits or writes."""

from __future__ import annotations

import asyncio
import functools

from freehold.calls import Call, Reply
from freehold.clock import Clock
from freehold.errors import FreeholdError
from freehold.gateway.attempts import Attempt, attempts_of
from freehold.gateway.routed import decided_of
from freehold.gateway.spending import paid_of
from freehold.store.calls import CallRow
from freehold.telemetry.calls import Ended
from freehold.wire.facts import Facts, Usage

CLIENT_LEFT = 499
"""The status of a call whose client went away before its answer was complete."""
_NO_ATTEMPT = Attempt("", "", 0)
_LEFT = (asyncio.CancelledError, GeneratorExit)
_Tokens = tuple[int | None, int | None, int | None, int | None, int | None, int | None]
_NO_TOKENS: _Tokens = (None, None, None, None, None, None)


def row_of(call: Call, reply: Reply | None, error: BaseException | None, clock: Clock) -> tuple[CallRow, Ended]:
    """Of a call that ends now, with what it was answered, or why it was not."""
    attempts = attempts_of(call)
    last = attempts[-1] if attempts else _NO_ATTEMPT
    facts = last.facts
    status, error_type = _outcome(reply, error, facts)
    latency_us = (clock.monotonic_ns() - call.started_ns) // 1000
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
            clock.now_us() - latency_us,
            *paid_of(call),
            *decided_of(call),
        ),
    )
    cost, answered = last.cost_nanodollars, row.model_answered or ""
    ended = Ended(
        call.route, last.upstream, answered, status, call.stream, len(attempts), latency_us, first_us, tokens, cost
    )
    return row, ended


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
