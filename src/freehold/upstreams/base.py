"""What an upstream is: a Handler with a name, and small optional abilities that it says it has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, runtime_checkable

from freehold.calls import Call, Headers, Reply


class Upstream(Protocol):
    """Answers Messages calls. Raises `NotAnswered` when it gave no reply; an HTTP error status is a Reply."""

    name: str

    def __call__(self, call: Call) -> AbstractAsyncContextManager[Reply]:
        """Begin the call."""
        ...

    async def close(self) -> None:
        """Let every connection go."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """It answers calls whose `route` is `count_tokens`."""

    counts_tokens: bool


@runtime_checkable
class ListsModels(Protocol):
    """It knows its models."""

    async def models(self) -> Sequence[dict[str, Any]]:
        """Entries in the shape of `ModelInfo`, newest first."""
        ...


@runtime_checkable
class RunsBatches(Protocol):
    """It has a batch API of its own. Objects are `MessageBatch`, as they came.

    Every method raises `FreeholdError`: what the upstream said (with its own status), or that it cannot be reached;
    `create_batch` raises `NotAnswered` where it is not known whether a batch was made.
    """

    def batch_params(self, params: bytes) -> bytes:
        """What is to be sent for these (valid) params of an item: an alias stands for another model."""
        ...

    async def create_batch(self, body: bytes, headers: Headers) -> dict[str, Any]:
        """`{"requests": […]}` as JSON; `headers` are those of the client that hold for all of it."""
        ...

    async def batch(self, batch_id: str) -> dict[str, Any]:
        """One batch."""
        ...

    async def recent_batches(self) -> Sequence[dict[str, Any]]:
        """The newest hundred."""
        ...

    async def cancel_batch(self, batch_id: str) -> dict[str, Any]:
        """Begin to cancel."""
        ...

    def batch_results(self, batch_id: str) -> AsyncIterator[bytes]:
        """The lines of an ended batch, one at a time, without their line breaks."""
        ...
