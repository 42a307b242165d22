"""One loaded tool function, whoever decorated it: what the model sees, how to run it, and the errors it may raise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.toolboxes.base import ToolSpec
from freehold.toolboxes.inputs import Inputs


@dataclass(frozen=True, slots=True)
class Function:
    """A tool and how to run it. `run` gives an awaitable if and only if `is_async`."""

    spec: ToolSpec
    inputs: Inputs
    run: Callable[[Mapping[str, Any]], object]
    is_async: bool
    close: Callable[[], Awaitable[None]] | None = None


class ToolFailed(Exception):
    """The tool says itself that it failed, and what the model shall read: text or content blocks."""

    def __init__(self, content: object) -> None:
        super().__init__("the tool reported an error")
        self.content = content


class BadArguments(Exception):
    """The arguments fit the schema but not the function's own types."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = list(lines)
