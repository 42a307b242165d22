"""What a box is, whatever makes it: a place where a session's tools run, with files that outlive it.

A *box* is a live sandbox. Its *workdir* (the session's persistent files: `workspace/`, `home/`, `uploads/`, `outputs/`)
stays when the box goes. This module does not know bubblewrap, sessions, or HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

ToolName = Literal["bash", "read", "write", "edit", "glob", "grep"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one box may use; the safe defaults of the product."""

    memory_bytes: int = 1 << 30
    processes: int = 256
    cpu_cores: float = 1.0
    file_bytes: int = 1 << 30
    """The largest single file it may write."""
    disk_bytes: int = 2 << 30
    """Soft where there is no quota: a watcher freezes the box and says so."""
    tmp_bytes: int = 64 << 20
    command_s: float = 3600.0
    """The longest that a command may take, whatever it was allowed by the model."""
    output_bytes: int = 100 << 10
    """Of one command's output, first and last half are kept; all of it is counted."""


@dataclass(frozen=True, slots=True)
class Protection:
    """One thing a box should have, and whether this machine gives it."""

    name: str
    present: bool
    detail: str
    remedy: str = ""
    """What the operator can do, when it is not present."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What `probe` found by really opening a box."""

    backend: str
    isolated: bool
    """False: agent tools are refused unless the operator says `--unsafe-no-isolation`."""
    protections: Sequence[Protection]
    reason: str = ""
    """Why it is not isolated, with the one thing to do about it."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the host that a box shows besides its workdir: a skill, a memory store. It must exist."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class BoxSpec:
    """What to open. `environment` is the API's `config` object of the environment."""

    session_id: str
    workdir: Path
    """The session's own folder on the host; made if missing; reopened with everything in it."""
    epoch: int
    """Fencing: a box refuses calls of a lower epoch than the highest it has seen."""
    limits: Limits = field(default_factory=Limits)
    environment: Mapping[str, Any] = field(default_factory=dict)
    mcp_hosts: Sequence[str] = ()
    """Hosts of the agent's MCP servers; reachable where the environment says `allow_mcp_servers`."""
    folders: Sequence[Folder] = ()
    """What else is mounted when the box is opened, in this order."""
    workspace_id: str = ""
    """Whose uploads its environment may mean."""


@dataclass(frozen=True, slots=True)
class BoxToolSpec:
    """One of the six tools as the model sees it."""

    name: ToolName
    description: str
    input_schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What a tool call brought: content blocks as the API has them (`[{"type": "text", "text": "…"}]`)."""

    content: Sequence[Mapping[str, Any]]
    is_error: bool = False
    news: str = ""
    """What the people behind the session should know besides; not for the model."""


class Box(Protocol):
    """One live box. Calls may run side by side, except that one persistent shell serves `bash`."""

    session_id: str

    @property
    def alive(self) -> bool:
        """False once its supervisor is gone; every later call raises `BoxDied`."""
        ...

    @property
    def ended(self) -> str:
        """Why it is gone, in the backend's own words; empty while it lives, or where nothing was said."""
        ...

    async def call(self, name: ToolName, arguments: Mapping[str, Any], *, key: str, epoch: int) -> ToolOutcome:
        """Run one built-in tool inside. `key` is the idempotency key: the event id of the call.

        A tool that fails is an outcome with `is_error`, not an exception.

        Raises:
            BoxDied: the box went away during the call; whether the tool took effect is unknown.
            Fenced: a newer epoch has taken this session.
        """
        ...

    async def close(self) -> None:
        """End every process in it. The workdir stays."""
        ...


class Boxes(Protocol):
    """Opens boxes of one kind: the interface every backend and the conformance suite share."""

    name: str

    async def probe(self) -> Capabilities:
        """Really open a box and say what it has. Never guesses; may take a second."""
        ...

    async def open(self, spec: BoxSpec) -> Box:
        """A box on that workdir, ready for calls.

        Raises:
            NoIsolation: this machine cannot isolate and the operator has not allowed that.
            BoxFailed: it did not come up; the message says why in the backend's own words.
        """
        ...

    async def outcome(self, spec: BoxSpec, key: str) -> ToolOutcome | None:
        """What a call of an earlier box is known to have brought, from the journal outside the box, else `None`."""
        ...

    async def close(self) -> None:
        """Close every box."""
        ...


class BoxDied(Exception):
    """The box went away while a call ran; its effect is unknown."""

    news = ""
    """Why it ended, for one of those whose calls it took along: it is told once."""


class BoxFailed(Exception):
    """The box did not come up."""


class NoIsolation(BoxFailed):
    """This machine cannot isolate a box, and running tools without isolation was not allowed."""


class Fenced(Exception):
    """A newer owner has this session; nothing more may be written for it."""
