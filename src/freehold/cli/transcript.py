"""A session's log as a person reads it: who spoke, which tools ran and what came back, what each step used.

It takes events as the plain values that the API lists.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

_SPEAKERS = {
    "user.message": ("you", "bold"),
    "system.message": ("system", "dim"),
    "agent.message": ("agent", "bold green"),
    "agent.thinking": ("thinking", "dim italic"),
}
_CALLS = {"agent.tool_use", "agent.mcp_tool_use", "agent.custom_tool_use"}
_RESULTS = {"agent.tool_result", "agent.mcp_tool_result", "user.custom_tool_result", "user.tool_result"}
_QUIET = {"span.model_request_start", "session.thread_status_running", "session.thread_status_idle"}
_FIRST_LINES = 6
_LABEL = 11


class Transcript:
    """Prints a session and its events; with `full`, long texts are not cut short."""

    def __init__(self, console: Console | None = None, *, full: bool = False) -> None:
        self._console = console or Console(highlight=False)
        self._most_lines = None if full else _FIRST_LINES

    def print(self, session: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> None:
        """A head, then an entry for every event that says something."""
        agent = session.get("agent") or {}
        title = session.get("title") or "(no title)"
        self._console.print(Text.assemble((f"{title}  ", "bold"), (str(session["id"]), "dim")))
        self._console.print(
            Text(f"{agent.get('name')} on {_model(agent)}, {session.get('status')}, {len(events)} events", "dim")
        )
        for event in events:
            self.event(event)

    def event(self, event: Mapping[str, Any]) -> None:
        """One event, if it says something to a person."""
        kind = str(event.get("type"))
        if kind in _QUIET or (kind == "agent.thinking" and not event.get("content")):
            return
        if kind in _SPEAKERS:
            label, style = _SPEAKERS[kind]
            self._entry(event, label, style, _said(event))
        elif kind in _CALLS:
            name = ".".join(str(part) for part in (event.get("mcp_server_name"), event.get("name")) if part)
            asks = "  (asks for permission)" if event.get("evaluated_permission") == "ask" else ""
            self._entry(event, "calls", "yellow", f"{name} {_arguments(event.get('input') or {})}{asks}")
        elif kind in _RESULTS:
            failed = bool(event.get("is_error"))
            self._entry(event, "failed" if failed else "result", "red" if failed else "dim", _said(event))
        else:
            self._entry(event, "·", "dim", f"{kind} {_detail(event)}".strip())

    def _entry(self, event: Mapping[str, Any], label: str, style: str, text: str) -> None:
        lines = text.splitlines() or [""]
        shown = lines if self._most_lines is None else lines[: self._most_lines]
        head = Text.assemble((f"{_time(event)} ", "dim"), (f"{label:<{_LABEL}}", style))
        indent = " " * len(head.plain)
        for number, line in enumerate(shown):
            self._console.print(Text.assemble(head if number == 0 else indent, line), soft_wrap=True)
        if len(shown) < len(lines):
            self._console.print(Text(f"{indent}… ({len(lines) - len(shown)} more lines; --full shows them)", "dim"))


def _said(event: Mapping[str, Any]) -> str:
    return "\n".join(_blocks(event.get("content") or []))


def _blocks(content: Iterable[Mapping[str, Any]] | str) -> Iterable[str]:
    if isinstance(content, str):
        yield content
        return
    for block in content:
        yield str(block["text"]) if block.get("type") == "text" else f"[{block.get('type')}]"


def _arguments(values: Mapping[str, Any]) -> str:
    if list(values) == ["command"]:
        return str(values["command"])
    return json.dumps(values, ensure_ascii=False)


def _detail(event: Mapping[str, Any]) -> str:
    if event.get("type") == "span.model_request_end":
        usage = event.get("model_usage") or {}
        read = sum(int(usage.get(f"{kind}input_tokens") or 0) for kind in ("", "cache_read_", "cache_creation_"))
        return f"{read} tokens in, {usage.get('output_tokens')} out"
    if isinstance(stop := event.get("stop_reason"), Mapping):
        return str(stop.get("type"))
    if isinstance(error := event.get("error"), Mapping):
        return str(error.get("message"))
    return ""


def _time(event: Mapping[str, Any]) -> str:
    stamp = event.get("processed_at") or event.get("created_at")
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).strftime("%H:%M:%S") if stamp else " " * 8


def _model(agent: Mapping[str, Any]) -> str:
    model = agent.get("model")
    return str(model.get("id") if isinstance(model, Mapping) else model)
