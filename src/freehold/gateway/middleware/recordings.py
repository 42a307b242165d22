"""Keeps request and answer of the calls that are to be recorded whole; every other call passes for one look.

It copies nothing but references on the way; what is kept is handed on when the call is over.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol

from freehold.calls import Call, Handler, Headers, NotAnswered, Reply
from freehold.clock import Clock
from freehold.errors import FreeholdError
from freehold.gateway.attempts import attempts_of
from freehold.gateway.recording import Policy, Recording
from freehold.wire.reads import NotedReads

_LEFT = (asyncio.CancelledError, GeneratorExit)


class TakesRecordings(Protocol):
    """Where recordings go (`gateway.recorder.Recorder`)."""

    def offer(self, recording: Recording) -> None:
        """Take it, or drop it; at once."""
        ...


class Recordings:
    """See the module. `most_bytes` of each answer are kept."""

    def __init__(self, policy: Policy, recorder: TakesRecordings, clock: Clock, *, most_bytes: int) -> None:
        self.policy = policy
        self.recorder = recorder
        self.clock = clock
        self.most_bytes = most_bytes

    def __call__(self, inner: Handler) -> Handler:
        """See `Middleware`."""

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            if call.caller is None or not self.policy.is_full(call.caller, call.model):
                return inner(call)
            return _Recorded(self, inner, call)

        return handle


class _Recorded:
    __slots__ = ("_body", "_call", "_context", "_inner", "_parts", "_recordings", "_reply")

    def __init__(self, recordings: Recordings, inner: Handler, call: Call) -> None:
        self._recordings = recordings
        self._inner = inner
        self._call = call
        self._body = call.body
        self._reply: Reply | None = None
        self._parts = _Parts(recordings.most_bytes)

    async def __aenter__(self) -> Reply:
        try:
            self._context = self._inner(self._call)
            reply = await self._context.__aenter__()
        except BaseException as error:
            self._keep(error)
            raise
        self._reply = reply
        if reply.whole is not None:
            self._parts.add(reply.whole)
        elif reply.reads is not None:
            reply.reads = NotedReads(reply.reads, self._parts.add)
        return reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._context.__aexit__(kind, error, trace)
        finally:
            self._keep(error)

    def _keep(self, error: BaseException | None) -> None:
        recordings, reply, failure = self._recordings, self._reply, _failure(error)
        headers: Headers = reply.headers if reply is not None else []
        status = reply.status if reply is not None else (failure[0] if failure else 0)
        recordings.recorder.offer(
            Recording(
                self._call,
                self._body,
                status,
                headers,
                self._parts.kept,
                self._parts.cut,
                failure and failure[1:],
                tuple(attempts_of(self._call)),
                recordings.clock.now_us(),
            )
        )


class _Parts:
    """The bytes of an answer, as far as they are kept."""

    __slots__ = ("_left", "cut", "kept")

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes
        self.kept: list[bytes] = []
        self.cut = False

    def add(self, data: bytes) -> None:
        """One more piece."""
        if len(data) > self._left:
            self.cut = True
            data = data[: self._left]
        if data:
            self.kept.append(data)
            self._left -= len(data)


def _failure(error: BaseException | None) -> tuple[int, str, str] | None:
    cause = error.cause if isinstance(error, NotAnswered) else error
    if cause is None:
        return None
    if isinstance(cause, FreeholdError):
        return cause.status, cause.type, cause.message
    if isinstance(cause, _LEFT):
        return 499, "client_left", "The client left before the answer was complete."
    return 500, "api_error", "Something went wrong in the server; its log has it."
