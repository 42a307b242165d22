"""A session's events as entries of a transcript: who speaks, which tools are called, what came back; plain text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SPEECH = {
    "user.message": "you",
    "system.message": "system",
    "agent.message": "agent",
    "agent.thinking": "thinking",
}
_CALLS = {"agent.tool_use", "agent.mcp_tool_use", "agent.custom_tool_use"}
_RESULTS = {"agent.tool_result", "agent.mcp_tool_result", "user.custom_tool_result", "user.tool_result"}
_HIDDEN = {"span.model_request_start", "session.thread_status_running", "session.thread_status_idle"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One event, as a person sees it."""

    id: str
    kind: str
    part: str
    """`speech`, `call`, `result` or `note`."""
    who: str
    text: str
    failed: bool
    asks: bool
    at: str
    event: Mapping[str, Any]


def entries(events: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """Every event that says something to a person, in order."""
    return [entry(event) for event in events if event.get("type") not in _HIDDEN]


def entry(event: Mapping[str, Any]) -> Entry:
    """One event."""
    kind = str(event.get("type"))
    part, who, text = _seen(event, kind)
    return Entry(
        id=str(event.get("id")),
        kind=kind,
        part="hidden" if kind in _HIDDEN else part,
        who=who,
        text=text,
        failed=bool(event.get("is_error")) or kind == "session.error",
        asks=event.get("evaluated_permission") == "ask",
        at=str(event.get("processed_at") or event.get("created_at") or ""),
        event=event,
    )


def _seen(event: Mapping[str, Any], kind: str) -> tuple[str, str, str]:
    if kind in _SPEECH:
        return "speech", _SPEECH[kind], _text(event.get("content") or ())
    if kind in _CALLS:
        name = ".".join(str(part) for part in (event.get("mcp_server_name"), event.get("name")) if part)
        return "call", name, _arguments(event.get("input") or {})
    if kind in _RESULTS:
        return "result", "", _text(event.get("content") or ())
    return "note", kind, _detail(event)


def _text(content: Iterable[Mapping[str, Any]] | str) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(block.get("text", f"[{block.get('type')}]")) for block in content)


def _arguments(values: Mapping[str, Any]) -> str:
    if list(values) == ["command"]:
        return str(values["command"])
    return json.dumps(values, indent=2, ensure_ascii=False)


def _detail(event: Mapping[str, Any]) -> str:
    if event.get("type") == "span.model_request_end":
        usage = event.get("model_usage") or {}
        read = sum(int(usage.get(f"{kind}input_tokens") or 0) for kind in ("", "cache_read_", "cache_creation_"))
        return f"{read:,} → {usage.get('output_tokens', 0):,}"
    for field, name in (("stop_reason", "type"), ("error", "message"), ("usage", "list_cost")):
        if isinstance(value := event.get(field), Mapping) and value.get(name):
            found = value[name]
            return f"{int(found['amount']) / 100:.2f} {found['currency']}" if isinstance(found, Mapping) else str(found)
    return str(event.get("result") or "")
