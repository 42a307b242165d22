"""The second part: an agent in a session, every event shown as it comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.cli.event_lines import STYLES, summary
from freehold.cli.story.bill import Meter, OverBudget
from freehold.cli.story.screen import Screen
from freehold.errors import FreeholdError

if TYPE_CHECKING:
    from anthropic import Anthropic
    from anthropic.types.beta.sessions import BetaManagedAgentsStreamSessionEvents

MODEL = "claude-sonnet-5-5"
SYSTEM = (
    "You are the analyst of a small shop. Run the scripts you are given, ask the company's tools for facts, "
    "call independent tools in parallel, and report in two sentences in the language of the request."
)
UPLOADED = "/mnt/session/uploads/orders.csv"
_MOST_LINES = 12
"""Of one report on the screen; the simulator tells everything that came back."""


class WentWrong(FreeholdError):
    """The session did something else than the story tells."""


@dataclass(slots=True)
class Turn:
    """What a turn brought, for the story to check itself."""

    tools: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    stop_reason: str = ""


class Work:
    """One agent in one environment, and one session of it."""

    def __init__(self, client: Anthropic, screen: Screen, meter: Meter) -> None:
        self._client = client
        self._screen = screen
        self._meter = meter
        self.session_id = ""

    def prepare(self, orders: Path) -> None:
        """Environment, agent, the uploaded file, the session; one fact each."""
        beta = self._client.beta
        environment = beta.environments.create(name="demo", config={"type": "cloud"})
        self._screen.fact("environment", f"{environment.id}  a box without network")
        agent = beta.agents.create(
            name="Shop analyst",
            model=MODEL,
            system=SYSTEM,
            mcp_servers=[{"type": "url", "name": "company", "url": "toolbox:company"}],
            tools=[
                {"type": "agent_toolset_20260401"},
                {
                    "type": "mcp_toolset",
                    "mcp_server_name": "company",
                    "default_config": {"permission_policy": {"type": "always_allow"}},
                },
            ],
        )
        self._screen.fact("agent", f"{agent.id}  bash, files, toolbox company")
        file = beta.files.upload(file=orders)
        self._screen.fact("file", f"{file.id}  {file.filename}, {file.size_bytes:,} bytes")
        session = beta.sessions.create(
            agent=agent.id,
            environment_id=environment.id,
            title="A year of orders",
            resources=[{"type": "file", "file_id": file.id, "mount_path": UPLOADED}],
        )
        self.session_id = session.id
        self._screen.fact("session", session.id)

    def turn(self, text: str) -> Turn:
        """Send a message and show every event until the session is idle again.

        Raises:
            OverBudget: the bill reached its limit; the session was interrupted.
            WentWrong: the session reported an error.
        """
        self._meter.check()
        turn = Turn()
        began = time.monotonic()
        with self._client.beta.sessions.events.stream(self.session_id) as stream:
            self._send({"type": "user.message", "content": [{"type": "text", "text": text}]})
            for event in stream:
                self._show(time.monotonic() - began, event)
                _note(turn, event)
                if event.type == "session.error":
                    raise WentWrong(f"the session reported: {event.error.message}")
                if event.type == "session.status_idle":
                    return turn
                if event.type == "span.model_request_end":
                    with self._interrupted_when_over():
                        self._meter.check()
        raise WentWrong("the stream of events ended before the session was idle")

    def events(self) -> list[str]:
        """The ids of the whole log."""
        return [event.id for event in self._client.beta.sessions.events.list(self.session_id, limit=1000)]

    def outputs(self) -> list[tuple[str, str]]:
        """Name and text of every file that the agent left in its outputs."""
        files = self._client.beta.files
        listed = list(files.list(scope_id=self.session_id))
        made = [file for file in listed if file.downloadable]
        return [(file.filename, files.download(file.id).text()) for file in made]

    def _send(self, event: dict[str, object]) -> None:
        self._client.beta.sessions.events.send(self.session_id, events=[event])  # type: ignore[list-item]

    @contextmanager
    def _interrupted_when_over(self) -> Iterator[None]:
        try:
            yield
        except OverBudget:
            self._send({"type": "user.interrupt"})
            raise

    def _show(self, seconds: float, event: BetaManagedAgentsStreamSessionEvents) -> None:
        style = STYLES.get(event.type, "dim")
        if event.type == "agent.message":
            self._screen.event(seconds, event.type, "", style)
            texts = (block.text for block in event.content if block.type == "text")
            self._screen.speak("", texts, most_lines=_MOST_LINES)
        else:
            self._screen.event(seconds, event.type, summary(event), style)


def _note(turn: Turn, event: BetaManagedAgentsStreamSessionEvents) -> None:
    if event.type == "agent.tool_use" or event.type == "agent.mcp_tool_use":
        turn.tools.append(event.name)
    elif (event.type == "agent.tool_result" or event.type == "agent.mcp_tool_result") and event.is_error:
        turn.failed.append(summary(event))
    elif event.type == "session.status_idle":
        turn.stop_reason = event.stop_reason.type
