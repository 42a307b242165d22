"""Long sessions compact by themselves: when one is due, what the model is asked for, and what the log says of it.

Decided from the fold alone, so a server that takes a session over decides the same. Knows no I/O; the loop asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from freehold.agents import request
from freehold.agents.session import Json, Session
from freehold.config import setting
from freehold.context import compaction
from freehold.context.editing import clear_thinking

Window = Callable[[str], int]
"""From a model's name to the tokens that it can see."""
UNKNOWN_WINDOW_TOKENS = 128_000


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """What stays in view of a session."""

    compact_at: float = setting(
        compaction.COMPACT_AT,
        "A session is summarised before a request that would fill more of its model's window than this share.",
    )
    window_tokens: int = setting(
        UNKNOWN_WINDOW_TOKENS, "The window of models that are not Claude, in tokens.", least=1_000
    )
    thinking_turns: int = setting(
        0, "Thinking is given back to the model for so many of its last messages; 0: for all of them.", least=0
    )


class Context:
    """What of a session is put to its model."""

    def __init__(self, settings: ContextSettings, window: Window) -> None:
        """`window`: of models that are known."""
        self._settings = settings
        self._window = window

    def view(self, session: Session) -> list[Json]:
        """The messages of the next request."""
        keep = self._settings.thinking_turns or None
        return clear_thinking(session.transcript(), keep=keep).messages

    def is_due(self, session: Session, model: str) -> bool:
        """Whether the session is to be compacted before its next request."""
        if not session.compactable:
            return False
        window = self._window(model) if model.startswith("claude-") else self._settings.window_tokens
        return compaction.is_due(session.context_tokens, session.pending(), window, self._settings.compact_at)


def body(session: Session, whole: Mapping[str, Any], *, smaller: bool) -> Json:
    """The request for a summary, from the request that would have been made: the same prefix, so that the cache has it.

    `smaller`: the model could not take it whole.
    """
    messages = compaction.asking(session.messages, keep_last=session.keeps_last)
    made = {**whole, "messages": compaction.smaller(messages) if smaller else messages}
    made["max_tokens"] = min(request.max_tokens(whole["model"]), compaction.MOST_SUMMARY_TOKENS)
    return made | ({"tool_choice": {"type": "none"}} if whole.get("tools") else {})


def unknown_window(model: str) -> int:
    """For a server that knows no models."""
    return UNKNOWN_WINDOW_TOKENS
