"""Settings of what is made here: where things are kept, who answers, what is allowed although it is not safe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.config import setting


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Where things are kept."""

    data: Path = setting(
        Path("freehold-data"), "Folder for everything that is kept: database, files, workspaces, keys."
    )
    database: str | None = setting(
        None, "Address of the database, `sqlite:///path` or `postgresql://…`; left out: SQLite in the data folder."
    )


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """Who answers the calls."""

    upstream: str = setting(
        "auto",
        "`simulator`, `claude`, or the base URL of a server that speaks Messages. `auto` is Claude when "
        "ANTHROPIC_API_KEY is set, else the simulator.",
    )
    upstream_key: str | None = setting(None, "Key for the upstream; left out: ANTHROPIC_API_KEY.", secret=True)
    model_aliases: dict[str, Any] = setting(
        {}, "Which model the upstream is asked for when a client asks for another, as `[model_aliases]` in the file."
    )


@dataclass(frozen=True, slots=True)
class SafetySettings:
    """What is allowed although it is not safe."""

    unsafe_no_isolation: bool = setting(
        False, "Run agent tools as this server's own user where no box can be made. They can read what it can."
    )
