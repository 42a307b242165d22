"""What a session's files were each time it came to rest: which snapshot belongs to which place of its log.

It does not know events: a place is a number that grows. Where nothing has changed, an earlier snapshot is named again,
so that a rest costs a look at each file and nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from freehold.clock import Clock
from freehold.config import setting
from freehold.environments.snapshots import Snapshots
from freehold.environments.workdirs import Workdir

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class SnapshotSettings:
    """How far back a session's files can be had."""

    snapshots_kept: int = setting(20, "How many states of a session's files are kept, the newest; 0: none are taken.")
    snapshot_kept_days: float = setting(30.0, "States older than this are forgotten, but for the newest.", unit="days")


@dataclass(frozen=True, slots=True)
class Rest:
    """The files as they were when the log had reached `seq`."""

    seq: int
    snapshot: str
    taken_us: int


class History:
    """The rests of sessions; each session's stand in its own folder, outside every mount."""

    def __init__(self, snapshots: Snapshots, settings: SnapshotSettings, clock: Clock) -> None:
        self.snapshots = snapshots
        self._settings = settings
        self._clock = clock

    async def keep(self, workdir: Workdir, seq: int) -> None:
        """Remember the files as they are at that place of the log, and forget what is too old or too much.

        Raises:
            BoxFailed: see `Snapshots.take`.
        """
        if self._settings.snapshots_kept < 1:
            return
        useless: list[bool] = []
        now_us = self._clock.now_us()
        await self.snapshots.take_if_changed(
            workdir, f"at-{seq:012d}", lambda name: useless.append(self._note(workdir, Rest(seq, name, now_us)))
        )
        if any(useless):
            await self.snapshots.prune(workdir, [rest.snapshot for rest in await self.rests(workdir)])

    async def rests(self, workdir: Workdir) -> list[Rest]:
        """What can be had, oldest first."""
        return await asyncio.to_thread(_read, workdir)

    def _note(self, workdir: Workdir, latest: Rest) -> bool:
        """Write it behind those before it that are kept; gives whether a snapshot has become useless. In a thread."""
        before = _read(workdir)
        rests = [*(rest for rest in before if rest.seq < latest.seq), latest]
        kept = self._kept(rests)
        if kept == [*before, latest]:
            _append(workdir, latest)
        else:
            _write(workdir, kept)
        return {rest.snapshot for rest in rests} != {rest.snapshot for rest in kept}

    def _kept(self, rests: Sequence[Rest]) -> list[Rest]:
        oldest_us = self._clock.now_us() - int(self._settings.snapshot_kept_days * _DAY_US)
        young = [rest for rest in rests[:-1] if rest.taken_us >= oldest_us]
        return [*young, rests[-1]][-self._settings.snapshots_kept :]


def _place(workdir: Workdir) -> Path:
    return workdir.path / "rests"


def _read(workdir: Workdir) -> list[Rest]:
    """A line that was not written to its end is passed over."""
    try:
        lines = _place(workdir).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):
            found.append(Rest(**json.loads(line)))
    return found


def _append(workdir: Workdir, rest: Rest) -> None:
    with open(_place(workdir), "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(_line(rest))


def _write(workdir: Workdir, rests: Sequence[Rest]) -> None:
    fresh = _place(workdir).with_name(".rests~")
    fresh.write_bytes(b"".join(map(_line, rests)))
    fresh.chmod(0o600)
    fresh.replace(_place(workdir))


def _line(rest: Rest) -> bytes:
    return json.dumps(asdict(rest)).encode() + b"\n"
