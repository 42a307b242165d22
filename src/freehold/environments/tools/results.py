"""What every tool inside the box shares: the form of what it answers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ToolFailed(Exception):
    """The tool could not do it; the message tells the model what to change."""


def answer(text: str, *, is_error: bool = False) -> dict[str, Any]:
    """An outcome of one text block; never an empty one, which the Messages API refuses."""
    return {"content": [{"type": "text", "text": text or "(no output)"}], "is_error": is_error}


def error(text: str) -> dict[str, Any]:
    """An outcome that tells the model what went wrong."""
    return answer(text, is_error=True)


def reason(failure: OSError) -> str:
    """The kernel's words, without paths of this machine."""
    return (failure.strerror or "input/output error").lower()
