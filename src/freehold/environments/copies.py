"""Copies of sessions' files where another machine can reach them: one archive a session, the newest, put there whole.

They are for the day on which the machine that has the files does not come back. Who uses them decides elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from freehold.clock import Clock
from freehold.config import setting
from freehold.environments.snapshots import Snapshots
from freehold.environments.workdirs import Workdir


@dataclass(frozen=True, slots=True)
class CopySettings:
    """What becomes of a session whose machine is gone."""

    file_copies: str = setting(
        "", "A folder that several machines share: after each turn the session's files are put there, whole."
    )
    take_over_files: bool = setting(
        False,
        "Where no server that reaches a session's files is there for a minute, go on here with their newest copy. What "
        "was changed since is lost; an event says so.",
    )


@dataclass(frozen=True, slots=True)
class Copy:
    """Files as they were when the log had reached `seq`."""

    seq: int
    taken_us: int


class Copies:
    """The copies in one folder."""

    def __init__(self, folder: Path, snapshots: Snapshots, clock: Clock) -> None:
        self._folder = folder
        self._snapshots = snapshots
        self._clock = clock

    async def keep(self, session_id: str, workdir: Workdir, seq: int) -> None:
        """Put a copy there in place of the one before.

        Raises:
            BoxFailed: packing failed; the copy before stays.
        """
        archive, told = self._places(session_id)
        await asyncio.to_thread(self._folder.mkdir, 0o700, parents=True, exist_ok=True)
        fresh = archive.with_suffix(f".{os.getpid()}~")
        try:
            await self._snapshots.export(workdir, fresh)
            await asyncio.to_thread(fresh.replace, archive)
        finally:
            await asyncio.to_thread(fresh.unlink, missing_ok=True)
        copy = json.dumps(asdict(Copy(seq, self._clock.now_us())))
        await asyncio.to_thread(told.write_text, copy, "utf-8")

    def has(self, session_id: str) -> bool:
        """Whether there is one."""
        return all(place.exists() for place in self._places(session_id))

    async def restore(self, session_id: str, workdir: Workdir) -> Copy | None:
        """Make the files of `workdir` those of the copy; `None`: there is none.

        Raises:
            InvalidRequest: somebody has put something else there.
        """
        archive, told = self._places(session_id)
        if not self.has(session_id):
            return None
        await self._snapshots.import_archive(workdir, archive)
        return Copy(**json.loads(await asyncio.to_thread(told.read_text, "utf-8")))

    async def forget(self, session_id: str) -> None:
        """The session was deleted."""
        for path in self._places(session_id):
            await asyncio.to_thread(path.unlink, missing_ok=True)

    def _places(self, session_id: str) -> tuple[Path, Path]:
        return self._folder / f"{session_id}.tar.zst", self._folder / f"{session_id}.json"
