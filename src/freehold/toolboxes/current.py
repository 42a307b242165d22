"""Which call a tool is answering: what a tool function may ask for beside its arguments."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

current: ContextVar[CurrentCall] = ContextVar("freehold_toolbox_call")
"""Set by the toolbox around each call, in the tool's own context."""


@dataclass(frozen=True, slots=True)
class CurrentCall:
    """The call that is running. `key` is the same if the same call is ever made again: hand it to your own systems."""

    tool: str
    key: str
    session_id: str
    """Empty when the tool was not called by a session."""


def current_call() -> CurrentCall:
    """The call that this code runs for; works in async tools, in sync ones, and in what they call.

    Raises:
        LookupError: no tool is running here.
    """
    try:
        return current.get()
    except LookupError:
        raise LookupError("current_call() only works while a toolbox runs the tool") from None
