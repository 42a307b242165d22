"""Boxes by bubblewrap: no daemon, no image, no root. The default on Linux.

One long-lived box per session: empty start environment, user, pid, network, ipc and uts namespaces of its own, seccomp,
no capabilities, the host's `/usr` read-only and nothing else of the host, a supervisor as pid 1 that runs every call.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from freehold.clock import Clock, SystemClock
from freehold.environments import examining, journal, probe, quota, users
from freehold.environments.base import BoxFailed, BoxSpec, Capabilities, NoIsolation, Protection, ToolOutcome
from freehold.environments.beginnings import Beginning, Beginnings
from freehold.environments.channel import LiveBox
from freehold.environments.chores import Chore, do
from freehold.environments.command import SYSTEM_PATH, Fittings, Layout, Mount, environment, options
from freehold.environments.disk import DiskWatch
from freehold.environments.egress import PORT, Door, Egress
from freehold.environments.images import images
from freehold.environments.images.images import Images, ImageSettings, Uploaded
from freehold.environments.images.roots import image_base, trusting
from freehold.environments.images.runtime import Runtime, host_runtime
from freehold.environments.kit import Kit, find_kit
from freehold.environments.launcher import Launcher, whole
from freehold.environments.layers import Layer, Layers, Progress, Standing, Tell, fittings, unheard
from freehold.environments.leases import BoxLease, lease
from freehold.environments.limits import Limiter, best_limiter
from freehold.environments.networking import EgressSettings, Policy, policy_of, proxy_variables
from freehold.environments.overlay import Overlay, laid_over, mount_points
from freehold.environments.packages import MANAGERS, LayerSettings, layer_variables
from freehold.environments.process import BoxProcess, last_words, pid_of_box
from freehold.environments.repositories import Repositories
from freehold.environments.rootfs import Base
from freehold.environments.start import start_line
from freehold.environments.workdirs import HOME, OUTPUTS, UPLOADS, WORKSPACE, Workdir, give, make_folder

PLACES = ((WORKSPACE, True), (HOME, True), (UPLOADS, False), (OUTPUTS, True), ("/tmp", True))
"""What the file tools of a box reach, and whether they may write there."""


class Bubblewrap:
    """Opens boxes whose workdirs lie under `root`. `limiter`: the best of this machine, unless a test wants another.

    `shared`: folders that exist, in which lie the `BoxSpec.folders` that are not in a workdir. `warm`: how many
    beginnings of boxes are kept ready.
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
        warm: int = 1,
        image_settings: ImageSettings | None = None,
        uploaded: Uploaded | None = None,
    ) -> None:
        self.root = root.absolute()
        self._egress = egress or Egress(EgressSettings())
        kept, clock = self.root / ".layers", clock or SystemClock()
        self._layers = Layers(kept, self.root, layers or LayerSettings(), clock, self._open_with)
        self.images = Images(kept, self.root, image_settings or ImageSettings(), clock, self.do, uploaded)
        self.repositories = Repositories(self.root, self._open_with)
        self._launcher = Launcher([self.root, *shared, Path(os.path.realpath(sys.base_prefix))])
        self._beginnings = Beginnings(self._launcher, warm)
        self._chosen = limiter
        self._open: set[LiveBox] = set()
        self.installing: dict[str, Progress] = {}
        """How far the packages are that a session's box waits for, by session."""
        self._disk = DiskWatch()
        self._kit: Kit | None = None
        self._usual: Base | None = None
        self._runtime: Runtime | None = None
        self._making_runtime = asyncio.Lock()

    async def probe(self) -> Capabilities:
        """See `Boxes`."""
        return await probe.of_boxes(self, self.root, await asyncio.to_thread(self._limiter))

    async def examine(self) -> Sequence[Protection]:
        """See `Examinable`."""
        return (
            await asyncio.to_thread(examining.version),
            await examining.overlays(self._open_with, self.root),
        )

    async def open(self, spec: BoxSpec) -> LiveBox:
        """See `Boxes`. Unpacks the image and installs the packages of its environment where no box has had them yet."""
        return await self._open_with(spec, await self._packages_of(spec))

    async def furnished(self, spec: BoxSpec) -> Fittings:
        """What a box of that environment has and stands on; for containers, which are furnished as boxes are."""
        fitted = await self._packages_of(spec)
        return replace(fitted, base=await self._standing(spec.environment, spec.workspace_id))

    async def lay_out(self, folder: Path) -> None:
        """Put into a new folder what a supervisor needs that this one does not start: its `code` and its `filter`."""
        kit = await self._launcher.run(self._found)

        def write() -> None:
            make_folder(folder.parent, 0o711)
            make_folder(folder, 0o755)
            for name, content in (("code", kit.code), ("filter", kit.filter)):
                (folder / name).write_bytes(content)
                (folder / name).chmod(0o644)

        await asyncio.to_thread(write)

    def policy(self, spec: BoxSpec) -> Policy:
        """Which names a box of that environment may reach."""
        return policy_of(spec.environment, spec.mcp_hosts, self._egress.settings)

    async def _packages_of(self, spec: BoxSpec) -> Fittings:
        packages = spec.environment.get("packages") or {}
        if not any(packages.get(manager) for manager in MANAGERS):
            return Fittings()

        def tell(progress: Progress) -> None:
            self.installing[spec.session_id] = progress

        try:
            return fittings(await self.install(spec.environment, tell, workspace_id=spec.workspace_id))
        finally:
            self.installing.pop(spec.session_id, None)

    async def install(
        self, environment: Mapping[str, Any], tell: Tell = unheard, *, workspace_id: str = ""
    ) -> list[Layer]:
        """See `InstallsPackages`."""

        def told(state: str) -> None:
            tell(Progress("image", state, 1, 1, (str(environment.get("image")),)))

        base = await self._standing(environment, workspace_id, told)
        system = self.images.base() if not environment.get("image") else None
        standing = Standing(base.identity, environment.get("image"), system.root if system else None)
        return await self._layers.ready(environment.get("packages") or {}, standing, tell)

    async def _standing(
        self, environment: Mapping[str, Any], workspace_id: str, tell: Callable[[str], None] = images.unheard
    ) -> Base:
        """What a box of that environment stands on."""
        kit = await self._known()
        name = environment.get("image")
        image = await self.images.ready(name, workspace_id, tell) if name else await asyncio.to_thread(self.images.base)
        if image is None:
            return kit.base
        async with self._making_runtime:
            if self._runtime is None:
                self._runtime = await asyncio.to_thread(host_runtime, self.root / ".base", kit.base.python)
        described = f"{'image ' if name else ''}{image.name} ({image.digest})"
        making = (image.root, image.digest, image.config, self._runtime, described)
        base = await asyncio.to_thread(image_base, *making)
        return base if name else await asyncio.to_thread(trusting, base, image.root)

    async def _known(self) -> Kit:
        return self._kit if self._kit is not None else await self._launcher.run(self._found)

    async def layers(self) -> list[dict[str, Any]]:
        """See `InstallsPackages`."""
        return await asyncio.to_thread(self._layers.kept)

    async def _open_with(self, spec: BoxSpec, fitted: Fittings) -> LiveBox:
        policy = self.policy(spec)
        fitted = replace(fitted, base=await self._standing(spec.environment, spec.workspace_id))
        with contextlib.closing(Door()) as door:
            way_out = {} if policy.closed else {"egress": door.far.fileno()}
            box = await self._open_box(spec, fitted, list(way_out.values()))
            await box.start(self.start_line(spec, fitted, self._limiter(), bool(way_out)))
            self._refill(spec, fitted)
            if way_out:
                await self.serve(box, policy, door)
        return box

    def _refill(self, spec: BoxSpec, fitted: Fittings) -> None:
        """Beginnings are made for what boxes usually stand on."""
        if not spec.environment.get("image"):
            self._usual = fitted.base
        if self._kit is not None:
            kit = self._kit if self._usual is None else replace(self._kit, base=self._usual)
            self._beginnings.refill(kit, self._limiter())

    async def serve(self, box: LiveBox, policy: Policy, door: Door) -> None:
        """Let that box out as the policy says, by what it hands out at the door."""
        try:
            proxy = await self._egress.serve(box.session_id, policy, door.listener())
        except BaseException:
            await box.close()
            raise
        box.on_end.append(proxy.close)

    async def _open_box(self, spec: BoxSpec, fitted: Fittings, way_out: Sequence[int]) -> LiveBox:
        workdir = Workdir(spec.workdir)
        held = await lease(workdir, spec.epoch)
        with contextlib.ExitStack() as on_error:
            on_error.callback(held.release)
            kit = await self._known()
            kit = replace(kit, base=fitted.base or kit.base)
            beginning = await self._beginnings.take(kit, self._limiter(), spec.limits)
            on_error.callback(beginning.end)
            fds = [held.fd, *way_out]
            await self._launcher.run(lambda: self._become(beginning, spec, workdir, fitted, fds))
            process, by_quota = await whole(asyncio.to_thread(_joined, spec, beginning, held, kit.base.name))
            on_error.pop_all()
        box = LiveBox(spec.session_id, beginning.ours, lambda: asyncio.to_thread(process.end))
        self._open.add(box)
        box.on_end.append(lambda: self._open.discard(box))
        if not by_quota:
            self._disk.watch(box, process, workdir, spec.limits.disk_bytes)
        return box

    def start_line(self, spec: BoxSpec, fitted: Fittings, limiter: Limiter, way_out: bool) -> dict[str, Any]:
        """What the supervisor of such a box is told first."""
        places = [(shown, shown, writable) for shown, writable in PLACES]
        places += [(folder.target, folder.target, folder.writable) for folder in spec.folders]
        own = dict(fitted.base.variables) if fitted.base else {}
        path = own.pop("PATH", SYSTEM_PATH)
        variables = environment({**own, **layer_variables({mount.target for mount in fitted.mounts}, path)})
        if not way_out:
            return start_line(spec, places, variables, limiter, base=fitted.base)
        variables = {**variables, **proxy_variables(PORT)}
        return start_line(spec, places, variables, limiter, {"port": PORT}, fitted.base)

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
        if any(mount.writable for mount in chore.mounts):
            await asyncio.to_thread(quota.lift, workdir)  # old files and new ones stand there side by side
        await do(self._launcher, kit, user, chore)

    async def collect_layers(self, unused_days: float) -> list[str]:
        """Remove installed packages that no box was opened with for so long; gives the keys of their layers."""
        await asyncio.to_thread(self.images.base)  # is in use, whoever opens boxes
        return await self._layers.collect(unused_days)

    async def close(self) -> None:
        """See `Boxes`."""
        await self._disk.close()
        await self._beginnings.close()
        await asyncio.gather(*(box.close() for box in list(self._open)))
        await asyncio.to_thread(self._launcher.close)

    # in the launcher's thread

    def _become(
        self, beginning: Beginning, spec: BoxSpec, workdir: Workdir, fitted: Fittings, fds: Sequence[int]
    ) -> None:
        """Let it be the box of that session. `fds`: descriptors for its supervisor, after that of the journal."""
        kit = self._found()
        kit = replace(kit, base=fitted.base or kit.base)
        user = users.user_of(workdir)
        workdir.prepare(user)
        for mount in fitted.mounts:
            if mount.writable and not mount.source.exists():
                make_folder(mount.source, 0o755)
                give(mount.source, user)
        record = journal.open_to_append(workdir.journal)
        try:
            socket.send_fds(beginning.ours, [b"."], [record, *fds])
        finally:
            os.close(record)
        overlay, reach = self._overlay(kit, fitted.over), self._launcher.path
        mounts = [replace(one, source=reach(one.source)) for one in self.mounts(spec, workdir, fitted.mounts)]
        layout = Layout(overlay.base, mounts, spec.limits, WORKSPACE)
        beginning.go(user, options(layout), overlay.lines)

    def _found(self) -> Kit:
        if self._kit is None:
            self._kit = find_kit(self.root)
        return self._kit

    def _overlay(self, kit: Kit, over: Path | None) -> Overlay:
        """The base as this box has it, and what has to be done for that before bubblewrap."""
        base = kit.base_for(self._launcher)
        if over is None:
            return Overlay(base)
        reach = self._launcher.path
        return laid_over(base, reach(over), reach(mount_points(self.root / ".base" / "over")))

    def mounts(self, spec: BoxSpec, workdir: Workdir, more: Sequence[Mount]) -> tuple[Mount, ...]:
        """Everything that a box of that session shows besides its base, in order."""
        return (
            *more,
            Mount(workdir.home, HOME, writable=True),
            Mount(workdir.uploads, UPLOADS),
            Mount(workdir.outputs, OUTPUTS, writable=True),
            Mount(workdir.workspace, WORKSPACE, writable=True),
            *(Mount(folder.source, folder.target, folder.writable) for folder in spec.folders),
        )

    # in any thread

    def _limiter(self) -> Limiter:
        if self._chosen is None:
            self._chosen = best_limiter()
        return self._chosen


def _joined(spec: BoxSpec, beginning: Beginning, held: BoxLease, base: str) -> tuple[BoxProcess, bool]:
    """Learn the box's pid and say who holds the workdir, before the box is told to begin. In any thread.

    Also gives whether the kernel holds its files to their limit.

    Raises:
        BoxFailed: it did not come to be one; `NoIsolation` where that is the machine's doing.
    """
    try:
        pid = pid_of_box(beginning.info, beginning.outer)
        by_quota = quota.hold(Workdir(spec.workdir), spec.limits.disk_bytes)
        held.record(pid, spec.epoch, base=base, disk=quota.how(by_quota))
        process = BoxProcess(beginning.outer, pid, beginning.group, held)
    except (OSError, BoxFailed) as error:
        words = str(error)
        if isinstance(error, ProcessLookupError):  # it was gone before we could get hold of it
            words = last_words(beginning.outer) or words
        explained = probe.explained(words)
        raise (BoxFailed if explained == words else NoIsolation)(explained) from error
    beginning.close_fds()
    return process, by_quota
