"""What one session event says, in one line for a person."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anthropic.types.beta.sessions import BetaManagedAgentsStreamSessionEvents

STYLES = {
    "agent.message": "bold green",
    "agent.tool_use": "yellow",
    "agent.mcp_tool_use": "magenta",
    "agent.tool_result": "yellow",
    "agent.mcp_tool_result": "magenta",
    "session.error": "bold red",
}
"""Colours of the events that matter most; the others have a quiet one."""


def summary(event: BetaManagedAgentsStreamSessionEvents) -> str:
    """The event's content in a few words; long ones are cut by whoever prints."""
    if event.type == "agent.tool_use":
        return f"{event.name} {_arguments(event.input)}"
    if event.type == "agent.mcp_tool_use":
        return f"{event.mcp_server_name}.{event.name} {_arguments(event.input)}"
    if event.type == "agent.tool_result" or event.type == "agent.mcp_tool_result":
        mark = "failed: " if event.is_error else ""
        return mark + _one_line(block.text for block in event.content or [] if block.type == "text")
    if event.type == "agent.message" or event.type == "user.message" or event.type == "system.message":
        return _one_line(block.text for block in event.content if block.type == "text")
    if event.type == "span.model_request_end":
        usage = event.model_usage
        read = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
        return f"{read} tokens in, {usage.output_tokens} out"
    if event.type == "session.status_idle" or event.type == "session.thread_status_idle":
        return event.stop_reason.type
    if event.type == "session.usage":
        usage_so_far = event.usage
        cost = usage_so_far.list_cost
        amount = f", list cost {cost.amount} {cost.currency} cents" if cost else ""
        return f"{usage_so_far.output_tokens} tokens out so far{amount}"
    if event.type == "session.error":
        return event.error.message
    return ""


def _arguments(values: dict[str, object]) -> str:
    if list(values) == ["command"]:
        return _one_line([str(values["command"])])
    return json.dumps(values, ensure_ascii=False)


def _one_line(texts: Iterable[str]) -> str:
    return " ⏎ ".join(line.strip() for line in "\n".join(texts).splitlines() if line.strip())
