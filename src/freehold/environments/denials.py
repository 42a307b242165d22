"""What boxes asked of the network and did not get, kept beside each session's files: the newest, in a bounded file."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from freehold.clock import Clock
from freehold.environments.egress import Denial, log_denial
from freehold.environments.workdirs import Workdirs

log = logging.getLogger(__name__)

_FILE_BYTES = 256 << 10
"""Then a new one begins and the one before it is kept: an agent that asks without end fills no disk."""
_TARGET_CHARS = 300


@dataclass(frozen=True, slots=True)
class Denied:
    """One of them. `target` is what the program asked for, in its own words."""

    at_us: int
    target: str
    reason: str


class Denials:
    """Those of all sessions. An instance is what `Egress` tells of each."""

    def __init__(self, workdirs: Workdirs, clock: Clock) -> None:
        self._workdirs = workdirs
        self._clock = clock

    def __call__(self, denial: Denial) -> None:
        """Write one down."""
        log_denial(denial)
        line = json.dumps([self._clock.now_us(), denial.target[:_TARGET_CHARS], denial.reason[:_TARGET_CHARS]])
        try:
            _append(self._file(denial.session_id), line)
        except OSError as error:
            log.warning("what %s was denied could not be written down: %s", denial.session_id, error)

    async def of(self, session_id: str, most: int) -> list[Denied]:
        """The newest of a session, newest first."""
        path = self._file(session_id)
        lines = [line for file in (_older(path), path) for line in await asyncio.to_thread(_lines, file)]
        return [Denied(*json.loads(line)) for line in reversed(lines[-most:])]

    def _file(self, session_id: str) -> Path:
        return self._workdirs.of(session_id).path / "denied"


def _append(path: Path, line: str) -> None:
    if path.exists() and path.stat().st_size > _FILE_BYTES:
        path.replace(_older(path))
    with open(path, "a", encoding="ascii", opener=_private) as file:
        file.write(line + "\n")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _older(path: Path) -> Path:
    return path.with_name("denied.1")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").splitlines()
    except FileNotFoundError:
        return []
