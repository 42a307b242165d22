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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.clock import Clock, SystemClock
from freehold.environments import bundle, journal, probe, users
from freehold.environments.base import BoxFailed, BoxSpec, Capabilities, NoIsolation, ToolOutcome
from freehold.environments.channel import LiveBox
from freehold.environments.chores import Chore, do
from freehold.environments.command import SYSTEM_PATH, Layout, Mount, command, environment, options
from freehold.environments.disk import DiskWatch, Watched
from freehold.environments.egress import PORT, Door, Egress
from freehold.environments.kit import Kit, find_kit
from freehold.environments.launcher import Launcher, sealed_file
from freehold.environments.layers import Layers
from freehold.environments.leases import BoxLease, lease
from freehold.environments.limits import Group, Limiter, best_limiter
from freehold.environments.networking import EgressSettings, policy_of, proxy_variables
from freehold.environments.packages import MANAGERS, LayerSettings, layer_variables
from freehold.environments.process import BoxProcess, last_words, pid_of_box
from freehold.environments.start import start_line
from freehold.environments.workdirs import HOME, OUTPUTS, UPLOADS, WORKSPACE, Workdir, give, make_folder

PLACES = ((WORKSPACE, True), (HOME, True), (UPLOADS, False), (OUTPUTS, True), ("/tmp", True))
"""What the file tools of a box reach, and whether they may write there."""


class Bubblewrap:
    """Opens boxes whose workdirs lie under `root`. `limiter`: the best of this machine, unless a test wants another.

    `shared`: folders that exist, in which lie the `BoxSpec.folders` that are not in a workdir.
    """

    name = "bubblewrap"

    def __init__(
        self,
        root: Path,
        *,
        limiter: Limiter | None = None,
        egress: Egress | None = None,
        layers: LayerSettings | None = None,
        clock: Clock | None = None,
        shared: Sequence[Path] = (),
    ) -> None:
        self._root = root.absolute()
        self._egress = egress or Egress(EgressSettings())
        self._layers = Layers(
            self._root / ".layers", self._root, layers or LayerSettings(), clock or SystemClock(), self._open_with
        )
        self._launcher = Launcher([self._root, *shared, Path(os.path.realpath(sys.base_prefix))])
        self._chosen = limiter
        self._open: set[LiveBox] = set()
        self._disk = DiskWatch()
        self._kit: Kit | None = None

    async def probe(self) -> Capabilities:
        """See `Boxes`."""
        return await probe.of_boxes(self, self._root, await asyncio.to_thread(self._limiter))

    async def open(self, spec: BoxSpec) -> LiveBox:
        """See `Boxes`. Installs the packages of its environment first, where no box has had them yet."""
        packages = spec.environment.get("packages") or {}
        if not any(packages.get(manager) for manager in MANAGERS):
            return await self._open_with(spec, ())
        kit = await self._launcher.run(self._found)
        found = await self._layers.ready(packages, kit.base.identity)
        return await self._open_with(spec, [Mount(layer.path, layer.target) for layer in found])

    async def _open_with(self, spec: BoxSpec, mounts: Sequence[Mount]) -> LiveBox:
        policy = policy_of(spec.environment, spec.mcp_hosts, self._egress.settings)
        with contextlib.closing(Door()) as door:
            way_out = {} if policy.closed else {"egress": door.far.fileno()}
            box = await self._open_box(spec, mounts, way_out)
            await box.start(self._start_line(spec, mounts, way_out))
            if way_out:
                proxy = await self._egress.serve(spec.session_id, policy, door.listener())
                box.on_end.append(proxy.close)
        return box

    async def _open_box(self, spec: BoxSpec, mounts: Sequence[Mount], way_out: Mapping[str, int]) -> LiveBox:
        workdir = Workdir(spec.workdir)
        held = await lease(workdir, spec.epoch)
        with contextlib.ExitStack() as on_error:
            on_error.callback(held.release)
            ours, theirs = socket.socketpair()
            on_error.callback(ours.close)
            with theirs:
                fds = {"control": theirs.fileno(), "lock": held.fd, **way_out}
                started = await self._launcher.run(lambda: self._start(spec, workdir, mounts, fds))
            process = await asyncio.to_thread(self._join, spec, started, held)
            on_error.pop_all()
        box = LiveBox(spec.session_id, ours, lambda: asyncio.to_thread(process.end))
        watched = Watched(box, process, workdir, spec.limits.disk_bytes)
        self._open.add(box)
        self._disk.join(watched)
        box.on_end += [lambda: self._open.discard(box), lambda: self._disk.leave(watched)]
        return box

    def _start_line(self, spec: BoxSpec, mounts: Sequence[Mount], way_out: Mapping[str, int]) -> dict[str, Any]:
        places = [(shown, shown, writable) for shown, writable in PLACES]
        places += [(folder.target, folder.target, folder.writable) for folder in spec.folders]
        variables = environment(layer_variables({mount.target for mount in mounts}, SYSTEM_PATH))
        if not way_out:
            return start_line(spec, places, variables, self._limiter())
        egress = {"channel": way_out["egress"], "port": PORT}
        return start_line(spec, places, {**variables, **proxy_variables(PORT)}, self._limiter(), egress)

    async def outcome(self, spec: BoxSpec, key: str) -> ToolOutcome | None:
        """See `Boxes`."""
        return await asyncio.to_thread(journal.find, Workdir(spec.workdir).journal, key)

    async def do(self, workdir: Workdir, chore: Chore) -> None:
        """Run a chore on that session's files, in a box of its own.

        Raises:
            ChoreFailed: in the program's own words.
        """
        kit, user = await self._launcher.run(lambda: (self._found(), users.user_of(workdir)))
        await self._launcher.run(lambda: workdir.prepare(user))
        await do(self._launcher, kit, user, chore)

    async def collect_layers(self, unused_days: float) -> list[str]:
        """Remove installed packages that no box was opened with for so long; gives the keys of their layers."""
        return await self._layers.collect(unused_days)

    async def close(self) -> None:
        """See `Boxes`."""
        await self._disk.close()
        await asyncio.gather(*(box.close() for box in list(self._open)))
        await asyncio.to_thread(self._launcher.close)

    # in the launcher's thread

    def _start(self, spec: BoxSpec, workdir: Workdir, mounts: Sequence[Mount], passed: Mapping[str, int]) -> _Started:
        """Start bubblewrap, within the limits of the box where that can be done at once.

        `passed`: descriptors that the box gets besides those made here, which are closed again here.
        """
        kit = self._found()
        user = users.user_of(workdir)
        workdir.prepare(user)
        for mount in mounts:
            if mount.writable and not mount.source.exists():
                make_folder(mount.source, 0o755)
                give(mount.source, user)
        layout = self._layout(kit, spec, workdir, mounts)
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
            return self._start_limited(spec, argv, {**fds, **passed}, info)
        except BaseException:
            os.close(info)
            raise
        finally:
            for fd in fds.values():
                os.close(fd)

    def _start_limited(self, spec: BoxSpec, argv: Sequence[str], fds: Mapping[str, int], info: int) -> _Started:
        try:
            group = self._limiter().group(f"{spec.session_id}-{os.urandom(4).hex()}", spec.limits)
        except OSError as error:
            raise BoxFailed(f"the limits could not be set: {error}") from error
        try:
            with group.entered() as inside:
                return _Started(self._launcher.start(argv, fds), info, group, inside)
        except BaseException:
            group.remove()
            raise

    def _found(self) -> Kit:
        if self._kit is None:
            self._kit = find_kit(self._root)
        return self._kit

    def _layout(self, kit: Kit, spec: BoxSpec, workdir: Workdir, more: Sequence[Mount]) -> Layout:
        reach = self._launcher.path
        mounts = (
            *(Mount(reach(mount.source), mount.target, mount.writable) for mount in more),
            Mount(reach(workdir.home), HOME, writable=True),
            Mount(reach(workdir.uploads), UPLOADS),
            Mount(reach(workdir.outputs), OUTPUTS, writable=True),
            Mount(reach(workdir.workspace), WORKSPACE, writable=True),
            *(Mount(reach(folder.source), folder.target, folder.writable) for folder in spec.folders),
        )
        return Layout(kit.base_for(self._launcher), mounts, spec.limits, WORKSPACE)

    # in any thread

    def _limiter(self) -> Limiter:
        if self._chosen is None:
            self._chosen = best_limiter()
        return self._chosen

    def _join(self, spec: BoxSpec, started: _Started, held: BoxLease) -> BoxProcess:
        """Learn the box's pid and see that it is under its limits, before it is told to begin."""
        outer, group = started.outer, started.group
        try:
            pid = pid_of_box(started.info, outer)
            if not started.inside:
                group.add(pid)
            held.record(pid, spec.epoch)
            return BoxProcess(outer, pid, group, held)
        except (OSError, BoxFailed) as error:
            words = str(error) if isinstance(error, BoxFailed) else f"the limits could not be set: {error}"
            if isinstance(error, ProcessLookupError):  # it was gone before it could be put under them
                words = last_words(outer) or words
            outer.kill()
            outer.wait()
            if outer.stderr is not None:
                outer.stderr.close()
            group.remove()
            explained = probe.explained(words)
            raise (BoxFailed if explained == words else NoIsolation)(explained) from error
        finally:
            os.close(started.info)


@dataclass(frozen=True, slots=True)
class _Started:
    """A bubblewrap that was just started."""

    outer: subprocess.Popen[bytes]
    info: int
    """The descriptor on which it will tell the box's pid."""
    group: Group
    inside: bool
    """Whether it is in the group already."""
