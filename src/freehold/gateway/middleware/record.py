"""The outermost middleware: every call leaves one row, refused and failed ones and those whose client left included.

The row goes to the store's writer as a tuple; nobody waits for it, and nothing is logged for a call that went well.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType

from freehold.calls import Call, Handler, NotAnswered, Reply
from freehold.clock import Clock
from freehold.gateway.call_rows import row_of
from freehold.store.calls import TakesRows, add_call
from freehold.telemetry.calls import CallMetrics


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
        row, ended = row_of(call, reply, error, self._clock)
        add_call(self._store, row)
        self._metrics.open -= 1
        if call.batch_id is not None:
            self._metrics.open_of_batches -= 1
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
