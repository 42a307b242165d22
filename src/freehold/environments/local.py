"""Boxes without walls: the same supervisor and tools as plain processes of this user. For tests and for the reckless.

An agent's commands can then read and change whatever the server's user can, and reach whatever network it can, whatever
the environment says. Only behind `--unsafe-no-isolation`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from freehold.environments import bundle, journal
from freehold.environments.base import BoxFailed, BoxSpec, Capabilities, Folder, NoIsolation, Protection, ToolOutcome
from freehold.environments.channel import LiveBox
from freehold.environments.command import environment
from freehold.environments.launcher import Launcher, sealed_file
from freehold.environments.leases import BoxLease, lease
from freehold.environments.limits import ProcessLimits
from freehold.environments.packages import MANAGERS
from freehold.environments.process import BoxProcess
from freehold.environments.start import start_line
from freehold.environments.workdirs import HOME, OUTPUTS, UPLOADS, WORKSPACE, Workdir

log = logging.getLogger(__name__)


class Local:
    """Opens boxes that are none."""

    name = "local"

    def __init__(self, *, unsafe_no_isolation: bool) -> None:
        self._allowed = unsafe_no_isolation
        self._launcher = Launcher()
        self._open: set[LiveBox] = set()
        self._code: bytes | None = None

    async def probe(self) -> Capabilities:
        """See `Boxes`. There is nothing to find."""
        none = Protection("isolation", False, "tools run as this user", "install bubblewrap; see `freehold doctor`")
        return Capabilities(self.name, False, (none,), "the backend `local` does not isolate")

    async def open(self, spec: BoxSpec) -> LiveBox:
        """See `Boxes`."""
        if not self._allowed:
            raise NoIsolation("the backend `local` does not isolate; it needs --unsafe-no-isolation")
        log.warning("%s runs WITHOUT ISOLATION: its commands can read and change what this user can", spec.session_id)
        if any((spec.environment.get("packages") or {}).get(manager) for manager in MANAGERS):
            raise BoxFailed("the backend `local` installs no packages; the environment of this session has some")
        if spec.environment.get("image"):
            raise BoxFailed("the backend `local` knows no images; the environment of this session names one")
        workdir = Workdir(spec.workdir)
        held = await lease(workdir, spec.epoch)
        with contextlib.ExitStack() as on_error:
            on_error.callback(held.release)
            ours, theirs = socket.socketpair()
            on_error.callback(ours.close)
            with theirs:
                process = await self._launcher.run(lambda: self._start(spec, workdir, held, ours, theirs))
            on_error.pop_all()
        box = LiveBox(spec.session_id, ours, lambda: asyncio.to_thread(process.end))
        self._open.add(box)
        box.on_end.append(lambda: self._open.discard(box))
        extra = {"HOME": str(workdir.home)}
        await box.start(start_line(spec, _places(workdir, spec.folders), environment(extra), ProcessLimits()))
        return box

    async def outcome(self, spec: BoxSpec, key: str) -> ToolOutcome | None:
        """See `Boxes`."""
        return await asyncio.to_thread(journal.find, Workdir(spec.workdir).journal, key)

    async def close(self) -> None:
        """See `Boxes`."""
        await asyncio.gather(*(box.close() for box in list(self._open)))
        await asyncio.to_thread(self._launcher.close)

    def _start(
        self, spec: BoxSpec, workdir: Workdir, held: BoxLease, ours: socket.socket, theirs: socket.socket
    ) -> BoxProcess:
        self._code = self._code or bundle.compiled([sys.executable])
        workdir.prepare(None)
        code, record = sealed_file("code", self._code), journal.open_to_append(workdir.journal)
        try:
            inside = [sys.executable, "-I", "-S", "-c", bundle.START, "{control}", "{code}"]
            process = self._launcher.start(inside, {"control": theirs.fileno(), "code": code})
            socket.send_fds(ours, [b"."], [record, held.fd])
        finally:
            os.close(code)
            os.close(record)
        held.record(process.pid, spec.epoch, base="this machine, without isolation")
        group = ProcessLimits().group(spec.session_id, spec.limits)
        return BoxProcess(process, process.pid, group, held, gently=True)


def _places(workdir: Workdir, more: Sequence[Folder]) -> list[tuple[str, str, bool]]:
    """The model is told the same names as in a real box; the file tools translate them, bash cannot."""
    folders: list[tuple[str, Path, bool]] = [
        (WORKSPACE, workdir.workspace, True),
        (HOME, workdir.home, True),
        (UPLOADS, workdir.uploads, False),
        (OUTPUTS, workdir.outputs, True),
        *((folder.target, folder.source, folder.writable) for folder in more),
    ]
    return [(shown, str(folder.resolve()), writable) for shown, folder, writable in folders]
