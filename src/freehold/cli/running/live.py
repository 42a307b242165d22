"""A session watched while it works: speech as it is written, tools as they run, and a question where one needs leave.

It knows a session by its events, and how to answer them; it does not know how the session came to be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from freehold.cli.event_lines import STYLES, summary
from freehold.cli.flow import Flow, padded
from freehold.errors import FreeholdError

if TYPE_CHECKING:
    from anthropic import Anthropic

_PREVIEWED: list[Any] = ["agent.message"]
_KIND = 22
_QUIET = {
    "agent.thinking",
    "span.model_request_start",
    "session.thread_status_running",
    "session.thread_status_idle",
    "session.status_running",
    "user.message",
    "user.tool_confirmation",
    "event_start",
    "session.usage",
}
_WIDEST = 120


class NeedsLeave(FreeholdError):
    """A tool call waits for a yes or a no, and nobody is there to give it."""


class StreamEnded(FreeholdError):
    """The events of a session come no more, although it has not come to rest."""


@dataclass(frozen=True, slots=True)
class Answer:
    """To a call that asks: whether it may run, and if not, what the model is told."""

    allow: bool
    reason: str | None = None


Ask = Callable[[Any], Answer]
"""Is given the event of a tool call that waits."""


@dataclass(slots=True)
class Outcome:
    """How a turn ended."""

    stop_reason: str = ""
    error: str | None = None
    last_words: str = ""
    tools: list[str] = field(default_factory=list)


class Live:
    """Shows one session on a console, and answers what it asks."""

    def __init__(self, client: Anthropic, session_id: str, ask: Ask, *, console: Console | None = None) -> None:
        self._client = client
        self._session_id = session_id
        self._ask = ask
        self._console = console or Console(highlight=False)
        self._calls: dict[str, Any] = {}
        self._writing: tuple[str, Flow] | None = None

    def turn(self, text: str, each: Callable[[Any], None] | None = None) -> Outcome:
        """Say something, and watch until the session is idle; `each` gets every event instead of the screen.

        Raises:
            NeedsLeave: a call asks, and `ask` has no answer.
            StreamEnded: nothing more comes, and the turn is not over.
        """
        outcome = Outcome()
        content: Any = [{"type": "text", "text": text}]
        with self._events.stream(self._session_id, event_deltas=_PREVIEWED) as stream:
            self._events.send(self._session_id, events=[{"type": "user.message", "content": content}])
            for event in stream:
                (each or self._show)(event)
                self._note(outcome, event)
                if event.type == "session.status_idle" and not self._answered(event.stop_reason):
                    outcome.stop_reason = event.stop_reason.type
                    return outcome
                if event.type in ("session.status_terminated", "session.deleted"):
                    outcome.stop_reason = "terminated"
                    return outcome
        raise StreamEnded(
            "the server has ended the stream, as it does when it stops; the session goes on with it. See "
            f"`freehold sessions show {self._session_id}`"
        )

    def interrupt(self) -> None:
        """Tell the session to stop."""
        self._events.send(self._session_id, events=[{"type": "user.interrupt"}])

    @property
    def _events(self) -> Any:
        return self._client.beta.sessions.events

    def _note(self, outcome: Outcome, event: Any) -> None:
        if event.type in ("agent.tool_use", "agent.mcp_tool_use", "agent.custom_tool_use"):
            self._calls[event.id] = event
            outcome.tools.append(event.name)
        elif event.type == "agent.message":
            outcome.last_words = "\n".join(block.text for block in event.content if block.type == "text")
        elif event.type == "session.error":
            outcome.error = event.error.message

    def _answered(self, stop_reason: Any) -> bool:
        """Whether the session waits for us, and was given what it waits for."""
        if stop_reason.type != "requires_action":
            return False
        waiting = [self._calls[known] for known in stop_reason.event_ids if known in self._calls]
        custom = [call.name for call in waiting if call.type == "agent.custom_tool_use"]
        if custom:
            raise NeedsLeave(
                f"the agent calls {', '.join(custom)}, which is a tool of the client's own; `freehold run` has no "
                "such tool. Answer it with an SDK, or give the server the function with `freehold serve --tools`."
            )
        self._events.send(self._session_id, events=[_confirmation(call, self._ask(call)) for call in waiting])
        return bool(waiting)

    def _show(self, event: Any) -> None:
        if event.type == "event_delta":
            self._write(event)
        elif event.type == "agent.message":
            self._said(event)
        elif event.type not in _QUIET:
            self._line(padded(event.type, _KIND), STYLES.get(event.type, "dim"), summary(event))

    def _write(self, event: Any) -> None:
        if self._writing is None or self._writing[0] != event.event_id:
            self._writing = event.event_id, self._begin()
        self._writing[1].write(event.delta.content.text)

    def _said(self, event: Any) -> None:
        if self._finished() == event.id:
            return
        flow = self._begin()
        for block in event.content:
            flow.write(block.text if block.type == "text" else f"[{block.type}]")
        flow.end()

    def _finished(self) -> str | None:
        """End the line that is being written, if one is; gives the id of its event."""
        writing, self._writing = self._writing, None
        if writing is None:
            return None
        writing[1].end()
        return writing[0]

    def _begin(self) -> Flow:
        flow = Flow(self._console, min(_WIDEST, self._console.width), 0, "")
        flow.begin("agent")
        return flow

    def _line(self, label: str, style: str, text: str) -> None:
        self._finished()
        line = Text.assemble("   ", (label, style), " ", text)
        line.rstrip()
        line.truncate(min(_WIDEST, self._console.width), overflow="ellipsis")
        self._console.print(line, no_wrap=True, crop=False)


def _confirmation(call: Any, answer: Answer) -> dict[str, Any]:
    event: dict[str, Any] = {
        "type": "user.tool_confirmation",
        "tool_use_id": call.id,
        "result": "allow" if answer.allow else "deny",
    }
    if not answer.allow and answer.reason:
        event["deny_message"] = answer.reason
    return event
