"""Trying again at the same upstream, as long as nothing has been handed on: the client sees one answer.

What decides is how far the attempt got (`calls.Attempted`), the status, and what the upstream asks for in
`retry-after`, `retry-after-ms` and `x-should-retry`. When we give up, the last answer leaves as it came, with all its
headers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from freehold.calls import Attempted, Call, Handler, Headers, NotAnswered, Reply
from freehold.clock import Clock
from freehold.gateway.attempts import attempts_of
from freehold.gateway.backoff import RETRYABLE, RetrySettings, is_retryable, wait_s
from freehold.gateway.hold import Held, hold
from freehold.gateway.retry_budget import RetryBudget
from freehold.wire.headers import first
from freehold.wire.reads import Read

_CLIENT_TIMEOUT = b"x-stainless-timeout"
"""The SDK's own time-out in seconds: an answer after it would find nobody."""


class Retries:
    """Makes an attempt again when that is safe and worth it. `chance` gives random numbers in 0…1.

    `hasty`: somebody else can be asked, so no deadline makes us more patient here, and the beginning of a stream is
    held back also where nothing is tried again. `budget` is what all calls to this upstream share.
    """

    def __init__(
        self,
        settings: RetrySettings,
        clock: Clock,
        chance: Callable[[], float],
        budget: RetryBudget | None = None,
        *,
        hasty: bool = False,
    ) -> None:
        self.settings = settings
        self.budget = budget or RetryBudget(settings.retry_budget, settings.retry_share)
        self.hasty = hasty
        self.holds = hasty or settings.max_retries > 0
        self.clock = clock
        self.chance = chance

    def __call__(self, inner: Handler) -> Handler:
        """See `Middleware`."""

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            return _Retried(self, inner, call)

        return handle


class _Retried:
    __slots__ = ("_call", "_context", "_held", "_inner", "_retries", "_tried")

    def __init__(self, retries: Retries, inner: Handler, call: Call) -> None:
        self._retries = retries
        self._inner = inner
        self._call = call
        self._tried = 0
        self._held: Held | None = None

    async def __aenter__(self) -> Reply:
        while True:
            self._context = self._inner(self._call)
            try:
                reply = await self._context.__aenter__()
            except NotAnswered as error:
                wait = self._wait_after(error)
                if wait is None:
                    raise
            else:
                if reply.status < 400 and reply.reads is None:
                    self._retries.budget.answered()
                    return reply
                wait = await self._look_at(reply)
                if wait is None:
                    if reply.status < 400:
                        self._retries.budget.answered()
                    return reply
                await self._leave()
            self._tried += 1
            await self._retries.clock.sleep(wait)

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Coroutine[Any, Any, bool | None]:
        if self._held is not None and self._held.pending is not None:
            return self._drop(self._held, kind, error, trace)
        return self._context.__aexit__(kind, error, trace)

    async def _drop(
        self,
        held: Held,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        await held.drop()
        return await self._context.__aexit__(kind, error, trace)

    def _wait_after(self, error: NotAnswered) -> float | None:
        if error.attempted is Attempted.BEGUN or error.cause.status not in RETRYABLE:
            return None
        return self._wait([])

    async def _look_at(self, reply: Reply) -> float | None:
        """How long until the next attempt; `None`: this reply is the answer."""
        try:
            if reply.status >= 400:
                return self._wait(reply.headers) if is_retryable(reply.status, reply.headers) else None
            if reply.reads is None or not self._may_hold():
                return None
            return await self._look_at_beginning(reply, reply.reads)
        except BaseException:
            await self._leave()
            raise

    async def _look_at_beginning(self, reply: Reply, reads: AsyncIterator[Read]) -> float | None:
        self._held = held = await hold(reads, self._retries.settings.hold_ms / 1000)
        if held.failure is not None and held.failure.status in RETRYABLE:
            wait = self._wait(reply.headers)
            if wait is not None:
                return wait
        if held.broken and held.failure is not None and not held.reads:
            raise NotAnswered(Attempted.UNANSWERED, held.failure)
        attempts = attempts_of(self._call)
        if attempts:
            attempts[-1].early_failure = held.failure
        reply.reads = held.resume(reads)
        return None

    def _may_hold(self) -> bool:
        return self._retries.holds and self._retries.settings.hold_ms > 0

    def _wait(self, headers: Headers) -> float | None:
        retries = self._retries
        deadline_ns = None if retries.hasty else self._deadline_ns()
        wait = wait_s(
            retries.settings,
            self._tried,
            retries.chance(),
            headers,
            retries.clock.now_us(),
            self._left_s(),
            by_deadline=deadline_ns is not None,
        )
        return wait if wait is not None and retries.budget.take() else None

    def _deadline_ns(self) -> int | None:
        """The caller's, else the one that the operator gives every call."""
        tried_ns = round(self._retries.settings.retry_for_s * 1e9)
        if self._call.deadline_ns is None and tried_ns:
            return self._call.started_ns + tried_ns
        return self._call.deadline_ns

    def _left_s(self) -> float | None:
        call, now_ns = self._call, self._retries.clock.monotonic_ns()
        deadline_ns = self._deadline_ns()
        deadlines = [] if deadline_ns is None else [(deadline_ns - now_ns) / 1e9]
        try:
            timeout_s = float(first(call.headers, _CLIENT_TIMEOUT) or "")
            deadlines.append(timeout_s - (now_ns - call.started_ns) / 1e9)
        except ValueError:
            pass
        return min(deadlines, default=None)

    async def _leave(self) -> None:
        if self._held is not None:
            await self._held.drop()
            self._held = None
        await self._context.__aexit__(None, None, None)
