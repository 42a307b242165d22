"""Spans of sessions, made from the events that go into their logs: a turn, and below it every tool that ran.

It knows events as the JSON that the API shows, and nothing of how they come to be.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from freehold.telemetry.spans import Place, Span, TakesSpans, is_chosen, new_span_id, place_of

_CALLS = {"agent.tool_use", "agent.mcp_tool_use", "agent.custom_tool_use"}
_RESULTS = {"agent.tool_result": "tool_use_id", "agent.mcp_tool_result": "mcp_tool_use_id"}
_MOST_SESSIONS = 10_000


class Written(Protocol):
    """An event as it was written."""

    @property
    def type(self) -> str:
        """`agent.message` and so on."""

    @property
    def body(self) -> str:
        """Its JSON."""


class Turns:
    """Hears of events (`Tell`), makes spans of the chosen sessions. All of a session's spans are one trace."""

    def __init__(self, take: TakesSpans, share: float) -> None:
        self._take = take
        self._share = share
        self._open: dict[str, _Turn] = {}

    def __call__(self, session_id: str, first_seq: int, events: Sequence[Written]) -> None:
        """Events that this process has just written."""
        trace = session_place(session_id)
        if not is_chosen(trace, self._share):
            return
        for event in events:
            if event.type == "session.status_running":
                self._open.pop(session_id, None)
                self._open[session_id] = _Turn(session_id, trace, json.loads(event.body))
                if len(self._open) > _MOST_SESSIONS:  # the oldest has gone on in another process, or with its session
                    del self._open[next(iter(self._open))]
            elif (turn := self._open.get(session_id)) is not None:
                self._hear(turn, event)

    def _hear(self, turn: _Turn, event: Written) -> None:
        if event.type in _CALLS:
            turn.called(json.loads(event.body))
        elif event.type in _RESULTS:
            body = json.loads(event.body)
            if (span := turn.answered(body, str(body.get(_RESULTS[event.type])))) is not None:
                self._take(span)
        elif event.type in ("session.status_idle", "session.status_terminated", "session.status_rescheduled"):
            self._take(turn.ended(json.loads(event.body)))
            del self._open[turn.session_id]


def session_place(session_id: str) -> Place:
    """The trace of a session; its calls to models belong to it too."""
    return place_of(session_id)


class _Turn:
    def __init__(self, session_id: str, trace: Place, began: dict[str, Any]) -> None:
        self.session_id = session_id
        self._place = Place(trace.trace_id, new_span_id())
        self._start_ns = _ns(began)
        self._calls: dict[str, dict[str, Any]] = {}
        self._tools = 0

    def called(self, event: dict[str, Any]) -> None:
        self._calls[str(event.get("id"))] = event
        self._tools += 1

    def answered(self, event: dict[str, Any], call_id: str) -> Span | None:
        call = self._calls.pop(call_id, None)
        if call is None:
            return None
        name = str(call.get("name"))
        kind = "extension" if call.get("mcp_server_name") else "function"
        return Span(
            f"execute_tool {name}",
            Place(self._place.trace_id, new_span_id()),
            self._place,
            _ns(call),
            _ns(event),
            attributes={
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": name,
                "gen_ai.tool.call.id": call_id,
                "gen_ai.tool.type": kind,
                "gen_ai.conversation.id": self.session_id,
            },
            error="tool_error" if event.get("is_error") else None,
        )

    def ended(self, event: dict[str, Any]) -> Span:
        stop = event.get("stop_reason") or {}
        return Span(
            "invoke_agent",
            self._place,
            None,
            self._start_ns,
            _ns(event),
            attributes={
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.conversation.id": self.session_id,
                "freehold.stop_reason": str(stop.get("type") or event.get("type")),
                "freehold.tool_calls": self._tools,
            },
            error="retries_exhausted" if stop.get("type") == "retries_exhausted" else None,
        )


def _ns(event: dict[str, Any]) -> int:
    stamp = str(event.get("processed_at") or event.get("created_at"))
    return int(datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() * 1_000_000) * 1000
