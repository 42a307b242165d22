"""The shape of a Messages call: Call, Reply, Handler, Middleware. Everything that answers a call is a Handler.

An upstream, the whole pipeline, the simulator, a recording and a test's script are all Handlers. A Reply has a head
(status, headers) and a body in one of two forms: `whole`, the bytes of one JSON answer, or `reads`, the bytes of a
stream as they were read, cut only at event borders. Bytes that came from Claude leave as they came, in both forms.

This module does not know HTTP servers, sockets, or any feature.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import Literal, Protocol

import msgspec

from freehold.errors import FreeholdError
from freehold.wire.frames import borders_of

Headers = list[tuple[bytes, bytes]]
"""Pairs in the order of the wire; names in lower case."""

Route = Literal["messages", "count_tokens"]


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Who asks: set by the keys middleware, or by whoever calls in process (an agent loop, a batch)."""

    workspace_id: str
    key_id: str
    role: Literal["admin", "member", "viewer", "worker"]
    """A viewer reads what its workspace has, and changes nothing; a worker comes in where a route lets workers in."""


class Call(msgspec.Struct):
    """One Messages request on its way through.

    `body` is the JSON exactly as it came; `fields` its top-level members, each still as raw JSON bytes (b'"auto"',
    b'[{"role":…}]'), so that a feature reads what it needs and nothing else is parsed. Whoever changes a field must
    change `body` with it (`wire.envelopes.replace_fields`).
    """

    request_id: str
    route: Route
    body: bytes
    fields: Mapping[str, bytes]
    headers: Headers
    model: str
    stream: bool
    started_ns: int
    """`Clock.monotonic_ns` when the first byte of the request was here."""
    caller: Caller | None = None
    user_id: str | None = None
    task_type: str | None = None
    source: str | None = None
    session_id: str | None = None
    batch_id: str | None = None
    """The message batch whose item this is; a budget may hold for it."""
    deadline_ns: int | None = None
    """On the monotonic clock; `None`: no deadline."""
    query: bytes = b""
    """The query string as it came, without `?` (some clients send `beta=true`)."""
    max_cost_nanodollars: int | None = None
    """It may cost so much at most; `None`: the client says nothing of it."""
    requires_reasoning: bool = False
    """The client says that the task needs reasoning."""
    refused: FreeholdError | None = None
    """Why this request cannot be made, found out while reading it; raised once its key is known."""
    first_byte_ns: int | None = None
    """On the monotonic clock: when the first byte of the answer's body was handed to the client."""
    notes: dict[str, object] = msgspec.field(default_factory=dict)
    """What a feature found out and the record or the answer's headers shall tell; keys are the feature's name."""


class Read:
    """What one read of the upstream brought: `data`, which always ends at a border of two events: a half event is kept
    back until its rest has come. `borders` is the offset after each complete event, found when somebody asks.
    """

    __slots__ = ("_borders", "data")

    def __init__(self, data: bytes, borders: list[int] | None = None) -> None:
        self.data = data
        self._borders = borders

    @property
    def borders(self) -> list[int]:
        """The offset after each event, in ascending order; the last one is the length of `data`."""
        if self._borders is None:
            self._borders = borders_of(self.data)
        return self._borders


Sink = Callable[[bytes], bool]
"""Takes what one read brought, in the turn of the loop in which it came. False: no more for now."""


async def pour(reads: AsyncIterator[Read], sink: Sink) -> bool:
    """Hand on read after read until the end (True), or until the sink wants no more for now (False; pour again).

    Reads that have a `pour` of their own do so without a task being woken for each of them, which costs more than all
    that is done to a small event. Raises what the reads raise, or the sink's `FreeholdError`.
    """
    own = getattr(reads, "pour", None)
    if own is not None:
        over: bool = await own(sink)
        return over
    async for read in reads:
        if not sink(read.data):
            return False
    return True


class NotedReads:
    """The same reads; `note` is told the bytes of each on its way."""

    __slots__ = ("_next", "_note", "_reads")

    def __init__(self, reads: AsyncIterator[Read], note: Callable[[bytes], None]) -> None:
        self._reads = reads
        self._next = reads.__aiter__().__anext__
        self._note = note

    def __aiter__(self) -> NotedReads:
        return self

    async def __anext__(self) -> Read:
        read = await self._next()
        self._note(read.data)
        return read

    async def pour(self, sink: Sink) -> bool:
        """See `pour`."""
        note = self._note

        def noted(data: bytes) -> bool:
            note(data)
            return sink(data)

        return await pour(self._reads, noted)


class Reply(msgspec.Struct):
    """The answer to a call: exactly one of `whole` and `reads` is set."""

    status: int
    headers: Headers
    whole: bytes | None = None
    reads: AsyncIterator[Read] | None = None


class Handler(Protocol):
    """Answers a call. The reply lives inside the context; leaving it lets the upstream go, however far it was read.

    Raises:
        FreeholdError: nothing was begun. An upstream raises `NotAnswered`, which says whether it may be tried again.
    """

    def __call__(self, call: Call) -> AbstractAsyncContextManager[Reply]:
        """Begin the call."""


Middleware = Callable[[Handler], Handler]
"""From an inner handler to one that does a little more."""


class Attempted(Enum):
    """How far a failed attempt got, which decides whether it may be made again."""

    NOT_SENT = "not_sent"
    """Nothing left this machine: free to try again."""
    UNANSWERED = "unanswered"
    """It was sent and nothing came back: may be tried again, but may also have been billed."""
    BEGUN = "begun"
    """Bytes of the answer are already with the client: never again."""


class NotAnswered(Exception):
    """An upstream gave no reply. `cause` is what the client gets if nobody tries again."""

    def __init__(self, attempted: Attempted, cause: FreeholdError) -> None:
        super().__init__(cause.message)
        self.attempted = attempted
        self.cause = cause
