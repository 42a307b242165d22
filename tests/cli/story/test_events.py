"""One line for each event of a session."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types.beta.sessions import BetaManagedAgentsStreamSessionEvents
from pydantic import TypeAdapter

from freehold.cli.event_lines import summary

EVENTS: TypeAdapter[BetaManagedAgentsStreamSessionEvents] = TypeAdapter(BetaManagedAgentsStreamSessionEvents)
TEXT = [{"type": "text", "text": "first\n\n  second"}]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"type": "agent.tool_use", "name": "bash", "input": {"command": "cd x\nls"}}, "bash cd x ⏎ ls"),
        ({"type": "agent.tool_use", "name": "read", "input": {"file_path": "a"}}, 'read {"file_path": "a"}'),
        (
            {"type": "agent.mcp_tool_use", "mcp_server_name": "company", "name": "find", "input": {"城市": "上海"}},
            'company.find {"城市": "上海"}',
        ),
        ({"type": "agent.tool_result", "tool_use_id": "t", "content": TEXT, "is_error": False}, "first ⏎ second"),
        (
            {"type": "agent.mcp_tool_result", "mcp_tool_use_id": "t", "content": TEXT, "is_error": True},
            "failed: first ⏎ second",
        ),
        ({"type": "agent.message", "content": TEXT}, "first ⏎ second"),
        ({"type": "session.status_idle", "stop_reason": {"type": "end_turn"}}, "end_turn"),
        (
            {
                "type": "span.model_request_end",
                "model_request_start_id": "s",
                "model_usage": {
                    "input_tokens": 1,
                    "output_tokens": 2,
                    "cache_read_input_tokens": 30,
                    "cache_creation_input_tokens": 400,
                },
            },
            "431 tokens in, 2 out",
        ),
        ({"type": "session.status_running"}, ""),
    ],
)
def test_an_event_is_told_in_a_few_words(fields: dict[str, Any], told: str) -> None:
    event = EVENTS.validate_python({"id": "sevt_1", "processed_at": "2026-01-01T00:00:00Z", **fields})
    assert summary(event) == told
