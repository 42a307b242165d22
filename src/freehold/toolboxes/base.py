"""What a toolbox is: the user's own Python functions, named and described as tools.

Trusted code in the server's process (SECURITY.md), unless it is isolated. This module does not know sessions or HTTP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from freehold.toolboxes.current import NOBODY, Asker


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One tool as the model sees it."""

    name: str
    description: str
    input_schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave: content blocks of the API, or an error the model can act on."""

    content: Sequence[Mapping[str, Any]]
    is_error: bool = False


class Toolbox(Protocol):
    """A named set of tools that run in this process."""

    name: str

    def tools(self) -> Sequence[ToolSpec]:
        """What it offers, in a stable order."""
        ...

    async def call(
        self, tool: str, arguments: Mapping[str, Any], *, key: str, session_id: str = "", asker: Asker = NOBODY
    ) -> ToolResult:
        """Run one tool; it never raises for what the tool does: that is an error result.

        `key` is the idempotency key (the event id of the call); `session_id` is empty outside a session; `asker` is on
        whose behalf. The tool itself sees them through `freehold.toolboxes.current_call()`.
        """
        ...

    async def close(self) -> None:
        """Let go of what the tools hold."""
        ...


@runtime_checkable
class Shared(Protocol):
    """A toolbox that gives every workspace something of its own: it is called only as what `within` gives."""

    def within(self, workspace_id: str, options: str) -> Toolbox:
        """The toolbox of one workspace. `options` is what stands behind the `?` of its address.

        Raises:
            InvalidRequest: the options are none that it knows.
        """
        ...


TOOLBOX_SCHEME = "toolbox:"


def addressed(url: str) -> tuple[str, str]:
    """From `toolbox:NAME?OPTIONS` to the name and the options."""
    name, _, options = url.removeprefix(TOOLBOX_SCHEME).partition("?")
    return name, options


class ToolProcess(Protocol):
    """A process that runs the functions of one file, one call at a time."""

    async def ask(self, line: bytes) -> bytes | None:
        """Give it a line, get its next line, both without the line's end; `None` if it ended or said too much."""
        ...

    async def end(self) -> None:
        """Kill it and all that it has started. May be called twice."""
        ...


Launch = Callable[[Path, Sequence[str]], Awaitable[ToolProcess]]
"""Starts the process of a toolbox's file, which sees it and its Python neighbours, with these words as arguments."""
