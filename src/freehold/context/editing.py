"""Edits that make a conversation smaller without asking a model: old tool results and old thinking are cleared. Pure.

They change what the model sees, never what is kept. The API knows them as `clear_tool_uses_20250919` and
`clear_thinking_20251015` (SDK `beta_context_management_config_param.py`); when to apply one is the caller's business.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.context.counting import estimate

Json = dict[str, Any]
CLEARED = "[The result of this call was cleared to save room. Make the call again if it is needed.]"
KEPT_TOOL_USES = 3
_THINKING = frozenset({"thinking", "redacted_thinking"})


@dataclass(frozen=True, slots=True)
class Edited:
    """A conversation after an edit. `count` tool uses or turns were cleared; `tokens`, about, were saved."""

    messages: list[Json]
    count: int = 0
    tokens: int = 0


def clear_tool_uses(
    messages: Sequence[Json],
    *,
    keep: int = KEPT_TOOL_USES,
    exclude: Collection[str] = (),
    clear_inputs: bool | Collection[str] = False,
    at_least_tokens: int = 0,
) -> Edited:
    """Put a placeholder for the results of all tool uses but the last `keep` and those of the tools in `exclude`.

    `clear_inputs`: their inputs too, of all or of these tools. Nothing is done if that saves less than
    `at_least_tokens`. A result that was cleared before counts for nothing.
    """
    names = {block["id"]: block["name"] for message in messages for block in _blocks(message, "tool_use")}
    answered = [block["tool_use_id"] for message in messages for block in _blocks(message, "tool_result")]
    old = [use for use in answered[: max(0, len(answered) - keep)] if names.get(use) not in exclude]
    emptied = {use for use in old if clear_inputs is True or (clear_inputs and names.get(use) in clear_inputs)}
    made = [_cleared(message, set(old), emptied) for message in messages]
    tokens = estimate(list(messages)) - estimate(made)
    if tokens <= 0 or tokens < at_least_tokens:
        return Edited(list(messages))
    return Edited(
        made, sum(one is not two for one, two in zip(_results(messages), _results(made), strict=True)), tokens
    )


def clear_thinking(messages: Sequence[Json], *, keep: int | None) -> Edited:
    """Take the thinking out of all assistant messages but the last `keep` that have some; `None` keeps all.

    A message that holds nothing else stays, because none may be empty; so do thinking and calls that the last turn of
    the user answers, which belong together.
    """
    having = [index for index, message in enumerate(messages) if any(_blocks(message, *_THINKING))]
    last = max((index for index, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    old = set() if keep is None else set(having[: max(0, len(having) - max(1, keep))]) - {last}
    made = [_without_thinking(message) if index in old else message for index, message in enumerate(messages)]
    count = sum(one is not two for one, two in zip(messages, made, strict=True))
    return Edited(made, count, estimate(list(messages)) - estimate(made))


def _without_thinking(message: Json) -> Json:
    kept = [block for block in message["content"] if block.get("type") not in _THINKING]
    return {**message, "content": kept} if kept else message


def _blocks(message: Json, *kinds: str) -> list[Json]:
    content = message["content"]
    return [] if isinstance(content, str) else [block for block in content if block.get("type") in kinds]


def _results(messages: Sequence[Json]) -> list[Json]:
    return [block for message in messages for block in _blocks(message, "tool_result")]


def _cleared(message: Json, results: Collection[str], inputs: Collection[str]) -> Json:
    if isinstance(message["content"], str):
        return message
    content = [_cleared_block(block, results, inputs) for block in message["content"]]
    same = all(one is two for one, two in zip(content, message["content"], strict=True))
    return message if same else {**message, "content": content}


def _cleared_block(block: Json, results: Collection[str], inputs: Collection[str]) -> Json:
    kind = block.get("type")
    if kind == "tool_result" and block["tool_use_id"] in results and block.get("content") != _PLACEHOLDER:
        return {**block, "content": _PLACEHOLDER} | _mark_inside(block)
    if kind == "tool_use" and block["id"] in inputs:
        return {**block, "input": {}}
    return block


def _mark_inside(block: Json) -> Json:
    """A breakpoint of the prompt cache inside what is cleared moves to the result itself: the prefix stays cached."""
    content = block.get("content")
    inner = [part.get("cache_control") for part in content] if isinstance(content, list) else []
    mark = next((mark for mark in reversed(inner) if mark), None)
    return {"cache_control": mark} if mark and not block.get("cache_control") else {}


_PLACEHOLDER = [{"type": "text", "text": CLEARED}]
