"""The events that the server writes, in the shapes of the API. Ids are handed in, times are set at the commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from freehold.agents import caps
from freehold.agents.session import Entry, Json, Session, ToolCall
from freehold.agents.usage import snapshot
from freehold.clock import rfc3339
from freehold.ids import NewId

INTERRUPTED = "Tool execution was interrupted before completion. Please retry."
UNKNOWN_OUTCOME = (
    "The outcome of this call is unknown: the server stopped while it ran. It may or may not have taken effect; "
    "verify before repeating it."
)
DENIED = "The user denied this tool call."
RetryStatus = Literal["retrying", "exhausted", "terminal"]


@dataclass(frozen=True, slots=True)
class Draft:
    """An event that is not in the log yet: everything but its place and its time."""

    id: str
    type: str
    fields: Mapping[str, Any]
    hidden: Mapping[str, Any] | None = None

    def body(self, at_us: int) -> Json:
        """The event as the API shows it, once it has a time."""
        return {"id": self.id, "type": self.type, "processed_at": rfc3339(at_us), **self.fields}

    def entry(self, seq: int, at_us: int) -> Entry:
        """The row that it becomes."""
        return Entry(seq, self.id, self.type, self.body(at_us), self.hidden, at_us)


@dataclass(frozen=True, slots=True)
class Voice:
    """Makes the events of one session's primary thread."""

    new_id: NewId
    thread_id: str
    agent_name: str

    def event(self, kind: str, fields: Mapping[str, Any] | None = None, hidden: Json | None = None) -> Draft:
        """Any event, with a fresh id."""
        return Draft(self.new_id("sevt"), kind, fields or {}, hidden)

    def running(self) -> list[Draft]:
        """A turn begins. The thread's event tells the SDK's tool runner which thread is the primary one."""
        return [self.event("session.status_running"), self._thread("running")]

    def rescheduled(self) -> list[Draft]:
        """A failure that will be tried again."""
        return [self._thread("rescheduled"), self.event("session.status_rescheduled")]

    def terminated(self) -> list[Draft]:
        """It has ended for good."""
        return [self._thread("terminated"), self.event("session.status_terminated")]

    def idle(
        self, stop_reason: Mapping[str, Any], stop_details: Mapping[str, Any] | None, session: Session, now_us: int
    ) -> list[Draft]:
        """A turn ends: the thread, then the bill, then the session (Claude API docs, Managed Agents, event order)."""
        bill = {
            "usage": snapshot(session.tokens, session.active_until(now_us)),
            "budget": caps.shown(session.cap_cents),
        }
        stopped = {"stop_reason": stop_reason, "stop_details": stop_details}
        return [
            self._thread("idle", stopped),
            self.event("session.usage", bill),
            self.event("session.status_idle", stopped),
        ]

    def error(self, kind: str, message: str, retry: RetryStatus) -> Draft:
        """Something went wrong; `retry` says whether the server goes on by itself."""
        error = {"type": kind, "message": message, "retry_status": {"type": retry}}
        return self.event("session.error", {"error": error})

    def trouble(self, kind: str, message: str, server: str) -> Draft:
        """An MCP server failed. The turn goes on without it, and the next one asks it again."""
        draft = self.error(kind, message, "retrying")
        return replace(draft, fields={"error": {**draft.fields["error"], "mcp_server_name": server}})

    def result(self, call: ToolCall, content: Sequence[Mapping[str, Any]], is_error: bool) -> Draft:
        """The answer to a call, in the type that fits it."""
        kind, key = _RESULTS[call.kind]
        return self.event(kind, {key: call.id, "content": list(content), "is_error": is_error})

    def failed(self, call: ToolCall, text: str) -> Draft:
        """An error result of one sentence."""
        return self.result(call, [{"type": "text", "text": text}], is_error=True)

    def _thread(self, status: str, more: Mapping[str, Any] | None = None) -> Draft:
        fields = {"session_thread_id": self.thread_id, "agent_name": self.agent_name, **(more or {})}
        return self.event(f"session.thread_status_{status}", fields)


_RESULTS = {
    "built_in": ("agent.tool_result", "tool_use_id"),
    "toolbox": ("agent.mcp_tool_result", "mcp_tool_use_id"),
    # Nobody but the client can give this one; when its turn is interrupted the server closes the call in its place, so
    # that a client which comes back sees that there is nothing to answer any more.
    "custom": ("user.custom_tool_result", "custom_tool_use_id"),
    # For the same reason: a worker that comes back runs every call to which it finds no such event.
    "worker": ("user.tool_result", "tool_use_id"),
}
