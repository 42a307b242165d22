"""What models refuse, as far as a choice among them depends on it.

Claude API docs, pages "Tool use", "Thinking" and "Prompt caching", read 2026-11-23.
"""

from __future__ import annotations

from functools import lru_cache

_FORCED = ("sonnet-5-5", "opus-5-5", "fable-5-1", "fable-5-2", "mythos")
"""They answer a `tool_choice` of `any` or `tool` with a 400."""
_ALWAYS_THINK = ("sonnet-5-5", "opus-5-5", "fable", "mythos")
"""They do not take `thinking: {"type": "disabled"}`."""
_MANUAL = ("-4-5", "-4-6", "-4-1", "-4-0", "claude-3", "claude-opus-4-2", "claude-sonnet-4-2")
"""They alone take `thinking: {"type": "enabled"}` with a budget."""
_MINIMUM = (
    (4096, ("opus-4-6", "opus-4-5", "haiku-4-5")),
    (2048, ("opus-4-7", "mythos-preview", "3-5-haiku")),
    (1024, ("opus-4-8", "sonnet-4", "opus-4", "3-7-sonnet", "3-5-sonnet", "3-opus")),
)


@lru_cache(maxsize=1024)
def refusal(model: str, forced: bool, thinking: str) -> str | None:
    """Why that model would refuse such a request, or `None`."""
    if forced and any(mark in model for mark in _FORCED) and model != "claude-mythos-5":
        return "it takes no forced tool call (tool_choice any or tool)"
    if thinking == "disabled" and any(mark in model for mark in _ALWAYS_THINK):
        return "its thinking cannot be disabled"
    if thinking == "enabled" and not any(mark in model for mark in _MANUAL):
        return "it takes no thinking budget (thinking.type enabled)"
    return None


@lru_cache(maxsize=1024)
def cache_minimum(model: str) -> int:
    """The shortest prefix that the model caches, in tokens."""
    if model == "claude-sonnet-5":
        return 1024
    return next((least for least, marks in _MINIMUM if any(mark in model for mark in marks)), 512)
