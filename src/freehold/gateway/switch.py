"""A handler that can be exchanged while calls are under way: each call stays with the pipeline in which it began."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from freehold.calls import Call, Handler, Reply


class Switch:
    """Hands every call to `current`."""

    __slots__ = ("current",)

    def __init__(self, current: Handler) -> None:
        self.current = current

    def __call__(self, call: Call) -> AbstractAsyncContextManager[Reply]:
        """See `Handler`."""
        return self.current(call)
