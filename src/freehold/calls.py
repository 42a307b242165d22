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
from freehold.wire.reads import Read

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
