"""The settings of toolboxes: which files, and how far a tool may go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from freehold.config import setting
from freehold.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class ToolboxSettings:
    """Read once at start."""

    tools: tuple[str, ...] = setting((), "Python files of tool functions; each is a toolbox named after its file")
    toolboxes: dict[str, Any] = setting(
        {},
        "Ready toolboxes, as `[toolboxes.NAME]` with `kind` sql, openapi or folder: see the guide of own tools.",
        secret=True,
    )
    tools_reload: bool = setting(
        False, "Load a tools file anew when it has changed: for development. Isolated toolboxes do not take it."
    )
    tool_timeout_s: float = setting(120.0, "how long one toolbox function may take", unit="s", least=0.001)
    tool_timeouts: dict[str, Any] = setting(
        {}, 'other time-outs for some functions, in seconds: `[tool_timeouts]` with `"shop.count_stock" = 600`'
    )
    tool_retry: tuple[str, ...] = setting(
        (),
        "functions, as `shop.count_stock`, that may be run again when a server died while they ran; they are given the "
        "same idempotency key. Of others the model is told that the outcome is unknown.",
    )
    tool_threads: int = setting(64, "how many sync functions of one toolbox run at once; further ones wait", least=1)
    max_stuck: int = setting(
        8, "a toolbox with that many calls past their timeout and still running refuses more", least=1
    )
    tool_result_bytes: int = setting(
        10 << 20,
        "the text of one tool result; the rest is cut with a note. Of more than 100,000 characters the model is given "
        "the beginning, and a file with all of it",
        unit="bytes",
        least=1,
    )
    tool_media_bytes: int = setting(5 << 20, "one image or document in a tool result, as base64", unit="bytes", least=1)
    isolate: tuple[str, ...] = setting(
        (),
        "names of toolboxes that run in processes of their own, behind walls: nothing of this server is visible there, "
        "and a call past its timeout is really ended",
    )
    isolate_processes: int = setting(
        4, "how many calls of one isolated toolbox run at once, each in a process; further ones wait", least=1
    )
    isolate_variables: tuple[str, ...] = setting((), "environment variables that isolated toolboxes are given")
    isolate_paths: tuple[str, ...] = setting(
        (), "files and folders that isolated toolboxes may read, besides the Python files beside them"
    )

    def timeout_s(self, toolbox: str, tool: str) -> float:
        """How long that function may take."""
        return float(self.tool_timeouts.get(f"{toolbox}.{tool}", self.tool_timeout_s))


def check(settings: ToolboxSettings) -> None:
    """Raises `Misconfigured` where a function has a time-out that is none."""
    for name, value in settings.tool_timeouts.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0 or "." not in name:
            raise Misconfigured(
                f'tool_timeouts."{name}": must be `"toolbox.function" = seconds`, the seconds being above 0'
            )
