"""What an upstream is: a Handler with a name, and small optional abilities that it says it has."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, runtime_checkable

from freehold.calls import Call, Reply


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
