"""A session's log as a person reads it: who spoke, which tools ran and what came back, what each step used.

What an event says is the console's to know (`console/entries.py`); this is how it looks on a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from freehold.console.entries import Entry, entries

_STYLES = {"you": "bold", "agent": "bold green", "thinking": "dim italic"}
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
        for entry in entries(events):
            self._show(entry)

    def _show(self, entry: Entry) -> None:
        if entry.part == "speech" and entry.text:
            self._entry(entry, entry.who, _STYLES.get(entry.who, "dim"), entry.text)
        elif entry.part == "call":
            asks = "  (asks for permission)" if entry.asks else ""
            self._entry(entry, "calls", "yellow", f"{entry.who} {entry.text}{asks}")
        elif entry.part == "result":
            self._entry(entry, "failed" if entry.failed else "result", "red" if entry.failed else "dim", entry.text)
        elif entry.part == "note":
            self._entry(entry, "·", "red" if entry.failed else "dim", f"{entry.kind} {entry.text}".strip())

    def _entry(self, entry: Entry, label: str, style: str, text: str) -> None:
        lines = text.splitlines() or [""]
        shown = lines if self._most_lines is None else lines[: self._most_lines]
        head = Text.assemble((f"{entry.at[11:19]:8} ", "dim"), (f"{label:<{_LABEL}}", style))
        indent = " " * len(head.plain)
        for number, line in enumerate(shown):
            self._console.print(Text.assemble(head if number == 0 else indent, line), soft_wrap=True)
        if len(shown) < len(lines):
            self._console.print(Text(f"{indent}… ({len(lines) - len(shown)} more lines; --full shows them)", "dim"))


def _model(agent: Mapping[str, Any]) -> str:
    model = agent.get("model")
    return str(model.get("id") if isinstance(model, Mapping) else model)
