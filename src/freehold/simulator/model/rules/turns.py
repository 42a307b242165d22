"""Rules of `messages`: who may speak when, and that every tool call has its result where it belongs."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.errors import InvalidRequest, NotBuilt
from freehold.simulator.model.request import Placed, Request, Turn

_RESULTS_OF_SERVER_TOOLS = (
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "advisor_tool_result",
)
_USER = frozenset({"text", "image", "document", "search_result", "tool_result", "container_upload", "compaction"})
_ASSISTANT_ONLY = frozenset({"thinking", "redacted_thinking", "tool_use", "server_tool_use", "mcp_tool_use"})


def check(request: Request) -> None:
    """See the module."""
    turns = request.turns
    _members(request)
    if not turns:
        raise InvalidRequest("messages: at least one message is required")
    if turns[0].role != "user":
        raise InvalidRequest(f'messages: first message must use the "user" role; found "{turns[0].role}"')
    for index, turn in enumerate(turns):
        _content(turn, last=index == len(turns) - 1)
        if turn.role == "system":
            _system_turn(turns, index)
    _unique(turns)
    spoken = [turn for turn in turns if turn.role != "system"]
    _pairs(spoken)
    _prefill(request)


def _members(request: Request) -> None:
    for index, message in enumerate(request.body["messages"]):
        for name in ("clear_at", "output_config"):
            if message.get(name) is not None:
                raise NotBuilt(f"messages.{index}.{name}: the simulator does not play this field. Leave it out.")


def _content(turn: Turn, *, last: bool) -> None:
    if not turn.placed and not (turn.role == "assistant" and last):
        raise InvalidRequest(
            f"{turn.path}: all messages must have non-empty content except for the optional final assistant message"
        )
    for placed in turn.placed:
        if placed.type == "text" and not placed.block["text"]:
            raise InvalidRequest("messages: text content blocks must be non-empty")
        if placed.type == "text" and turn.role == "user" and not placed.block["text"].strip():
            raise InvalidRequest("messages: text content blocks must contain non-whitespace text")
        if turn.role == "user" and placed.type in _ASSISTANT_ONLY:
            raise InvalidRequest(f"{turn.path}: `{placed.type}` blocks can only be in `assistant` messages")
        if turn.role == "assistant" and placed.type == "tool_result":
            raise InvalidRequest(f"{turn.path}: `tool_result` blocks can only be in `user` messages")
        if turn.role == "assistant" and placed.type in ("image", "document", "search_result"):
            raise InvalidRequest(f"{placed.path}: `{placed.type}` blocks can only be in `user` messages")
        if turn.role == "system" and placed.type != "text":
            raise InvalidRequest(f"{placed.path}: only `text` blocks are supported in `system` messages here")


def _system_turn(turns: Sequence[Turn], index: int) -> None:
    before = turns[index - 1]
    after = turns[index + 1] if index + 1 < len(turns) else None
    follows_user = before.role == "user"
    follows_server = bool(before.placed) and before.placed[-1].type in _RESULTS_OF_SERVER_TOOLS
    if not follows_user and not follows_server:
        raise InvalidRequest(
            f"{turns[index].path}: a `system` message must follow a `user` message, or an `assistant` message that "
            "ends with a server tool result"
        )
    if after is not None and after.role != "assistant":
        raise InvalidRequest(
            f"{turns[index].path}: a `system` message must be the last message or be followed by an `assistant` message"
        )


def _unique(turns: Sequence[Turn]) -> None:
    seen: set[str] = set()
    for turn in turns:
        for placed in turn.of_type("tool_use", "server_tool_use", "mcp_tool_use"):
            if placed.block["id"] in seen:
                raise InvalidRequest(f"{placed.path}.id: `{placed.type}` ids must be unique")
            seen.add(placed.block["id"])


def _pairs(turns: Sequence[Turn]) -> None:
    for index, turn in enumerate(turns):
        if turn.role == "assistant":
            _answered(turn, turns[index + 1] if index + 1 < len(turns) else None)
        elif turn.role == "user":
            _results(turn, turns[index - 1] if index else None)


def _calls(turn: Turn | None) -> list[str]:
    return [placed.block["id"] for placed in turn.of_type("tool_use")] if turn else []


def _answered(turn: Turn, after: Turn | None) -> None:
    calls = _calls(turn)
    given = {placed.block["tool_use_id"] for placed in after.of_type("tool_result")} if after else set()
    missing = [call for call in calls if call not in given]
    if missing:
        raise InvalidRequest(
            f"{turn.path}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing[:20])}. Each `tool_use` block must have a corresponding `tool_result` block in the "
            "next message."
        )


def _results(turn: Turn, before: Turn | None) -> None:
    calls = _calls(before)
    seen: set[str] = set()
    other: Placed | None = None
    for placed in turn.placed:
        if placed.type != "tool_result":
            other = other or placed
            continue
        answers = placed.block["tool_use_id"]
        if answers not in calls:
            raise InvalidRequest(
                f"{placed.path}: unexpected `tool_use_id` found in `tool_result` blocks: {answers[:100]}. Each "
                "`tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        if answers in seen:
            raise InvalidRequest(
                f"{placed.path}: each tool_use must have a single result. Found multiple `tool_result` blocks with id: "
                f"{answers[:100]}"
            )
        if other is not None:
            raise InvalidRequest(
                f"{placed.path}: `tool_result` blocks must come first in the message that answers `tool_use` blocks; "
                f"found `{other.type}` before it at {other.path}"
            )
        seen.add(answers)


def _prefill(request: Request) -> None:
    last = request.turns[-1]
    if last.role != "assistant" or _calls(last):
        return
    if last.placed and last.placed[-1].type != "text":
        return  # a paused turn that goes on
    if not request.model.prefill:
        raise InvalidRequest(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    if last.placed and last.placed[-1].block["text"] != last.placed[-1].block["text"].rstrip():
        raise InvalidRequest("messages: final assistant content cannot end with trailing whitespace")
    if request.body.get("thinking") and request.thinking.on:
        raise InvalidRequest("messages: the final message cannot be `assistant` when thinking is enabled.")
