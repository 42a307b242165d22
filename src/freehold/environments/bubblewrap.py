"""Boxes by bubblewrap: no daemon, no image, no root. The default on Linux.

One long-lived box per session: empty start environment, user, pid, network, ipc and uts namespaces of its own, seccomp,
no capabilities, the host's `/usr` read-only and nothing else of the host, a supervisor as pid 1 that runs every call.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from freehold.environments import bundle, journal, probe, rootfs, seccomp, users
from freehold.environments.base import BoxFailed, BoxSpec, Capabilities, ToolOutcome
from freehold.environments.channel import LiveBox
from freehold.environments.command import Layout, Mount, command, environment, options
from freehold.environments.disk import DiskWatch, Watched
from freehold.environments.launcher import Launcher, find_program, sealed_file
from freehold.environments.leases import BoxLease, lease
from freehold.environments.limits import Limiter, ProcessLimits
from freehold.environments.process import BoxProcess, last_words, pid_of_box
from freehold.environments.start import start_line
from freehold.environments.workdirs import HOME, OUTPUTS, UPLOADS, WORKSPACE, Workdir, make_folder

PLACES = ((WORKSPACE, True), (HOME, True), (UPLOADS, False), (OUTPUTS, True), ("/tmp", True))
"""What the file tools of a box reach, and whether they may write there."""


@dataclass(frozen=True, slots=True)
class _Kit:
    """What all boxes of this server share; found out when the first is opened."""

    bwrap: str
    setpriv: str | None
    base: rootfs.Base
    code: bytes
    filter: bytes


class Bubblewrap:
    """Opens boxes whose workdirs lie under `root`."""

    name = "bubblewrap"

    def __init__(self, root: Path, *, limiter: Limiter | None = None) -> None:
        self._root = root.absolute()
        self._launcher = Launcher([self._root, Path(os.path.realpath(sys.base_prefix))])
        self._limiter = limiter or ProcessLimits()
        self._open: set[LiveBox] = set()
        self._disk = DiskWatch()
        self._kit: _Kit | None = None

    async def probe(self) -> Capabilities:
        """See `Boxes`."""
        return await probe.of_boxes(self, self._root, self._limiter)

    async def open(self, spec: BoxSpec) -> LiveBox:
        """See `Boxes`."""
        workdir = Workdir(spec.workdir)
        held = await lease(workdir, spec.epoch)
        with contextlib.ExitStack() as on_error:
            on_error.callback(held.release)
            ours, theirs = socket.socketpair()
            on_error.callback(ours.close)
            with theirs:
                outer, info = await self._launcher.run(lambda: self._start(spec, workdir, held, theirs))
            process = await asyncio.to_thread(self._join, spec, outer, info, held)
            on_error.pop_all()
        box = LiveBox(spec.session_id, ours, lambda: asyncio.to_thread(process.end))
        self._open.add(box)
        watched = Watched(box, process, workdir, spec.limits.disk_bytes)
        box.on_end += [lambda: self._open.discard(box), lambda: self._disk.leave(watched)]
        places = [(shown, shown, writable) for shown, writable in PLACES]
        await box.start(start_line(spec, places, environment({}), self._limiter))
        self._disk.join(watched)
        return box

    async def outcome(self, spec: BoxSpec, key: str) -> ToolOutcome | None:
        """See `Boxes`."""
        return await asyncio.to_thread(journal.find, Workdir(spec.workdir).journal, key)

    async def close(self) -> None:
        """See `Boxes`."""
        await self._disk.close()
        await asyncio.gather(*(box.close() for box in list(self._open)))
        await asyncio.to_thread(self._launcher.close)

    # in the launcher's thread

    def _start(
        self, spec: BoxSpec, workdir: Workdir, held: BoxLease, theirs: socket.socket
    ) -> tuple[subprocess.Popen[bytes], int]:
        """Start bubblewrap; gives it, and the descriptor on which it will tell the box's pid."""
        kit = self._kit = self._kit or _kit(self._root)
        user = users.user_of(workdir)
        workdir.prepare(user)
        layout = self._layout(kit, spec, workdir)
        info, telling = os.pipe2(os.O_CLOEXEC)
        fds = {
            "options": sealed_file("options", options(layout)),
            "seccomp": sealed_file("seccomp", kit.filter),
            "code": sealed_file("code", kit.code),
            "journal": journal.open_to_append(workdir.journal),
            "info": telling,
        }
        inside = [kit.base.python, "-I", "-S", "-c", bundle.START, "{control}", "{journal}", "{code}"]
        argv = command(kit.bwrap, kit.setpriv, user, inside)
        try:
            return self._launcher.start(argv, {**fds, "control": theirs.fileno(), "lock": held.fd}), info
        except BaseException:
            os.close(info)
            raise
        finally:
            for fd in fds.values():
                os.close(fd)

    def _layout(self, kit: _Kit, spec: BoxSpec, workdir: Workdir) -> Layout:
        reach = self._launcher.path
        base = rootfs.Base(
            kit.base.name,
            tuple((reach(source), target) for source, target in kit.base.binds),
            kit.base.links,
            kit.base.python,
        )
        mounts = (
            Mount(reach(workdir.home), HOME, writable=True),
            Mount(reach(workdir.uploads), UPLOADS),
            Mount(reach(workdir.outputs), OUTPUTS, writable=True),
            Mount(reach(workdir.workspace), WORKSPACE, writable=True),
        )
        return Layout(base, mounts, spec.limits, WORKSPACE)

    # in any thread

    def _join(self, spec: BoxSpec, outer: subprocess.Popen[bytes], info: int, held: BoxLease) -> BoxProcess:
        """Learn the box's pid and put it under its limits, before it is told to begin."""
        try:
            pid = pid_of_box(info, outer)
        finally:
            os.close(info)
        try:
            group = self._limiter.group(f"{spec.session_id}-{pid}", spec.limits)
            group.add(pid)
            held.record(pid, spec.epoch)
            return BoxProcess(outer, pid, group, held)
        except OSError as error:
            words = last_words(outer)
            raise BoxFailed(f"the limits of the box could not be set: {error}. {words}".strip()) from error


def _kit(root: Path) -> _Kit:
    """Find the programs, make the base, compile the supervisor, build the filter.

    Raises:
        BoxFailed: one of them is not to be had; the message says what to install.
    """
    bwrap = find_program("bwrap")
    if bwrap is None:
        raise BoxFailed("bubblewrap is not installed (no `bwrap` on PATH): apt install bubblewrap")
    setpriv = find_program("setpriv")
    if os.geteuid() == 0 and setpriv is None:
        raise BoxFailed("`setpriv` is not installed (apt install util-linux): a server that is root needs it")
    machine = seccomp.this_machine()
    if machine is None:
        raise BoxFailed(f"there is no seccomp filter for {os.uname().machine}; boxes run on x86_64 and aarch64")
    make_folder(root, 0o711)
    base = rootfs.host_base(root / ".base")
    return _Kit(bwrap, setpriv, base, bundle.compiled([base.python]), seccomp.program(machine))
