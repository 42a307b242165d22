"""The `bash` tool: what a command's end says to the model. The shell itself is the supervisor's."""

from __future__ import annotations

from freehold.environments.tools.results import answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_TIMEOUT_S = 120.0

_NEW_SHELL = "Note: this ran in a new shell, in /workspace; variables and directory of the earlier shell are gone."


def timeout_s(arguments: dict[str, Any]) -> float:
    """How long this command may take."""
    return arguments["timeout_ms"] / 1000 if arguments.get("timeout_ms") else DEFAULT_TIMEOUT_S


def bounded(arguments: dict[str, Any], most_s: float) -> dict[str, Any]:
    """The same call, which may take no longer than a command may in this box."""
    return {**arguments, "timeout_ms": min(timeout_s(arguments), most_s) * 1000}


def restarted() -> dict[str, Any]:
    """The answer to `restart`."""
    return answer("The shell was restarted; everything that ran in the box was ended.")


def outcome(how: str, status: int, text: str, arguments: dict[str, Any], was_lost: bool) -> dict[str, Any]:
    """The answer to a command. `was_lost`: the shell before it had ended, so it ran in a new one."""
    parts = [text.strip("\n")]
    if was_lost:
        parts.insert(0, _NEW_SHELL)
    if how == "status" and status:
        parts.append(f"[exit status {status}]")
    if how == "exit":
        parts.append(f"[the shell itself ended, {_ending(status)}; the next command gets a new one]")
    if how == "timeout":
        limit = f"timed out after {timeout_s(arguments):g} s"
        parts.append(f"[{limit}; everything that ran in the box was ended, the next command gets a new shell]")
    if how == "cancelled":
        parts.append("[cancelled; everything that ran in the box was ended, the next command gets a new shell]")
    failed = how in ("timeout", "cancelled") or status != 0
    return answer("\n".join(part for part in parts if part), is_error=failed)


def _ending(status: int) -> str:
    return f"killed by signal {-status}" if status < 0 else f"with exit status {status}"
