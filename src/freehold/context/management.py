"""`context_management` of the Messages API: its edits read and checked, and what they do to a conversation. Pure.

Names, defaults and order follow the SDK (`beta_context_management_config_param.py`) and the Claude API docs, page
"Context editing" (read 2026-11-23). The simulator applies them as the upstream; the gateway, in place of one that
knows none. What differs between the two is only how tokens are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from freehold.context.editing import KEPT_TOOL_USES, clear_thinking, clear_tool_uses
from freehold.errors import InvalidRequest

Json = dict[str, Any]
Measure = Callable[[Sequence[Json]], int]
"""From the messages of a request to the tokens of its whole prompt."""

TOOL_USES, THINKING, COMPACT = "clear_tool_uses_20250919", "clear_thinking_20251015", "compact_20260112"
CLEAR_AT_TOKENS = 100_000
COMPACT_AT_TOKENS = 150_000
LEAST_COMPACT_AT_TOKENS = 50_000
_MOST_NAMES = 1_000
_WHERE = "context_management"


@dataclass(frozen=True, slots=True)
class ClearToolUses:
    """Results of old tool uses give way to a placeholder once the trigger is reached."""

    trigger: Literal["input_tokens", "tool_uses"] = "input_tokens"
    at: int = CLEAR_AT_TOKENS
    keep: int = KEPT_TOOL_USES
    at_least_tokens: int = 0
    exclude: frozenset[str] = frozenset()
    clear_inputs: bool | frozenset[str] = False


@dataclass(frozen=True, slots=True)
class ClearThinking:
    """Thinking of all but the last `keep` turns that have some goes; `None` keeps all."""

    keep: int | None = 1


@dataclass(frozen=True, slots=True)
class Compact:
    """From `at` tokens on the conversation is summarised and goes on from there. `pause`: the summary is the answer."""

    at: int = COMPACT_AT_TOKENS
    pause: bool = False
    instructions: str | None = None


@dataclass(frozen=True, slots=True)
class Edits:
    """What a request asks for, in its order."""

    clearing: tuple[ClearThinking | ClearToolUses, ...] = ()
    compact: Compact | None = None


@dataclass(frozen=True, slots=True)
class Managed:
    """A conversation after its edits. `tokens`: of the prompt by now; `applied`: what the answer tells of them."""

    messages: list[Json]
    tokens: int
    original_tokens: int
    applied: list[Json] = field(default_factory=list)


def read(given: object) -> Edits:
    """The edits in the field `context_management` of a request.

    Raises:
        InvalidRequest: it is none of the API's forms; the message names the place.
    """
    if given is None:
        return Edits()
    edits = _known(given, _WHERE, "edits").get("edits") or []
    if not isinstance(edits, list):
        raise InvalidRequest(f"{_WHERE}.edits: Input should be a valid list")
    found = [_edit(edit, f"{_WHERE}.edits.{index}") for index, edit in enumerate(edits[:4])]
    kinds = [type(edit) for edit in found]
    if len(edits) != len(set(kinds)):
        raise InvalidRequest(f"{_WHERE}.edits: each type of edit may be given once")
    if ClearThinking in kinds[1:]:
        raise InvalidRequest(f"{_WHERE}.edits: `{THINKING}` must be the first edit")
    clearing = tuple(edit for edit in found if not isinstance(edit, Compact))
    return Edits(clearing, next((edit for edit in found if isinstance(edit, Compact)), None))


def apply(messages: Sequence[Json], edits: Edits, measure: Measure) -> Managed:
    """Clear what the edits say, in their order; compaction needs the model and is not done here.

    An edit that saves nothing, or less than it must, is not made. What is cleared depends on the conversation alone, so
    the same beginning of it stays the same bytes from one request to the next, and cached.
    """
    now, applied = list(messages), []
    before = original = measure(now)
    for edit in edits.clearing:
        made, told = _apply(edit, now, before)
        after = measure(made) if told else before
        least = edit.at_least_tokens if isinstance(edit, ClearToolUses) else 0
        if after < before and before - after >= least:
            applied.append({**told, "cleared_input_tokens": before - after})
            now, before = made, after
    return Managed(now, before, original, applied)


def _apply(edit: ClearThinking | ClearToolUses, messages: list[Json], tokens: int) -> tuple[list[Json], Json]:
    """The messages and what to tell of the edit; nothing to tell: it was not due, or found nothing."""
    if isinstance(edit, ClearThinking):
        cleared = clear_thinking(messages, keep=edit.keep)
        return cleared.messages, {"type": THINKING, "cleared_thinking_turns": cleared.count} if cleared.count else {}
    reached = tokens if edit.trigger == "input_tokens" else _tool_uses(messages)
    if reached < edit.at:
        return messages, {}
    cleared = clear_tool_uses(messages, keep=edit.keep, exclude=edit.exclude, clear_inputs=edit.clear_inputs)
    return cleared.messages, {"type": TOOL_USES, "cleared_tool_uses": cleared.count} if cleared.count else {}


def _tool_uses(messages: Sequence[Json]) -> int:
    contents = [message["content"] for message in messages if isinstance(message["content"], list)]
    return sum(block.get("type") == "tool_use" for content in contents for block in content)


def _edit(given: object, at: str) -> ClearThinking | ClearToolUses | Compact:
    kind = given.get("type") if isinstance(given, Mapping) else None
    if kind == TOOL_USES:
        return _clear_tool_uses(_known(given, at, "trigger keep clear_at_least exclude_tools clear_tool_inputs"), at)
    if kind == THINKING:
        return ClearThinking(_thinking_turns(_known(given, at, "keep").get("keep"), f"{at}.keep"))
    if kind == COMPACT:
        return _compact(_known(given, at, "trigger pause_after_compaction instructions"), at)
    raise InvalidRequest(f"{at}.type: must be one of {TOOL_USES}, {THINKING}, {COMPACT}")


def _clear_tool_uses(given: Mapping[str, Any], at: str) -> ClearToolUses:
    trigger, reached = _valued(given.get("trigger"), f"{at}.trigger", "input_tokens", "tool_uses") or (
        "input_tokens",
        CLEAR_AT_TOKENS,
    )
    _, keep = _valued(given.get("keep"), f"{at}.keep", "tool_uses") or ("", KEPT_TOOL_USES)
    _, least = _valued(given.get("clear_at_least"), f"{at}.clear_at_least", "input_tokens") or ("", 0)
    inputs = given.get("clear_tool_inputs") or False
    return ClearToolUses(
        "tool_uses" if trigger == "tool_uses" else "input_tokens",
        reached,
        keep,
        least,
        _names(given.get("exclude_tools") or [], f"{at}.exclude_tools"),
        inputs if isinstance(inputs, bool) else _names(inputs, f"{at}.clear_tool_inputs"),
    )


def _compact(given: Mapping[str, Any], at: str) -> Compact:
    _, reached = _valued(given.get("trigger"), f"{at}.trigger", "input_tokens") or ("", COMPACT_AT_TOKENS)
    if reached < LEAST_COMPACT_AT_TOKENS:
        raise InvalidRequest(f"{at}.trigger.value: Input should be greater than or equal to {LEAST_COMPACT_AT_TOKENS}")
    pause, instructions = given.get("pause_after_compaction") or False, given.get("instructions")
    if not isinstance(pause, bool):
        raise InvalidRequest(f"{at}.pause_after_compaction: Input should be a valid boolean")
    if instructions is not None and (not isinstance(instructions, str) or not instructions.strip()):
        raise InvalidRequest(f"{at}.instructions: Input should be a string that is not blank")
    return Compact(reached, pause, instructions)


def _thinking_turns(given: object, at: str) -> int | None:
    if given is None:
        return 1
    if given == "all" or given == {"type": "all"}:
        return None
    _, turns = _valued(given, at, "thinking_turns") or ("", 1)
    if turns < 1:
        raise InvalidRequest(f"{at}.value: Input should be greater than or equal to 1")
    return turns


def _valued(given: object, at: str, *kinds: str) -> tuple[str, int] | None:
    """`{"type": …, "value": …}`; `None` where nothing is given."""
    if given is None:
        return None
    told = _known(given, at, "value")
    kind, value = told.get("type"), told.get("value")
    if kind not in kinds:
        raise InvalidRequest(f"{at}.type: must be one of {', '.join(kinds)}")
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidRequest(f"{at}.value: Input should be an integer that is not negative")
    return str(kind), value


def _names(given: object, at: str) -> frozenset[str]:
    if not isinstance(given, list) or len(given) > _MOST_NAMES or not all(isinstance(name, str) for name in given):
        raise InvalidRequest(f"{at}: Input should be a list of at most {_MOST_NAMES} names of tools")
    return frozenset(given)


def _known(given: object, at: str, names: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidRequest(f"{at}: Input should be an object")
    for name in given:
        if name != "type" and name not in names.split():
            raise InvalidRequest(f"{at}.{str(name)[:100]}: Extra inputs are not permitted")
    return given
