"""Boxes by Docker or Podman: containers of a daemon on this machine, each with the same supervisor as any box.

The daemon makes walls and limits, and shows the container the very folders that a box of bubblewrap shows; nothing is
pulled or built. What a server does with files besides (packages, images, snapshots, clones) is done by bubblewrap.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from freehold.config import setting
from freehold.environments import journal, probe, quota, users
from freehold.environments.base import BoxFailed, BoxSpec, Capabilities, NoIsolation, ToolOutcome
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.channel import LiveBox
from freehold.environments.command import Fittings, Mount
from freehold.environments.containers.daemon import Daemon, DaemonFailed
from freehold.environments.containers.frame import PLACE, Frame, body, points
from freehold.environments.disk import DiskWatch
from freehold.environments.egress import Door
from freehold.environments.leases import BoxLease, lease
from freehold.environments.limits import Group, ProcessLimits, group_of
from freehold.environments.workdirs import Workdir

_CONNECT_S = 30.0
_NOT_THERE = "`docker_socket` names it; is the daemon running, and may this server's user open its socket?"


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    """What makes the boxes of agents."""

    box_backend: str = setting(
        "bubblewrap", "What makes the boxes of agents: `bubblewrap`, or `docker` for a Docker or Podman daemon."
    )
    docker_socket: Path = setting(
        Path("/var/run/docker.sock"), "The socket of the daemon; Podman's is /run/podman/podman.sock."
    )


class ContainerLimits(ProcessLimits):
    """What the daemon bounds for a container as a whole."""

    name = "the daemon's cgroups"
    controls = frozenset(("memory", "processes", "cpu"))


class Containers:
    """See `Boxes`. `walled` finds out what a box stands on, and installs what its environment asks for."""

    name = "docker"

    def __init__(self, root: Path, daemon: Daemon, walled: Bubblewrap) -> None:
        self._root = root.absolute()
        self._daemon = daemon
        self._walled = walled
        self._label = hashlib.sha256(os.fsencode(self._root)).hexdigest()[:16]
        self._images: dict[str, str] = {}
        self._open: set[LiveBox] = set()
        self._disk = DiskWatch()
        self._tidied = False

    async def probe(self) -> Capabilities:
        """See `Boxes`."""
        try:
            version = await self._daemon.version()
        except DaemonFailed as error:
            return Capabilities(self.name, False, (), f"{error}. {_NOT_THERE}")
        found = await probe.of_boxes(self, self._root, ContainerLimits(), shared=("user",))
        return replace(found, backend=f"{self.name} ({version})")

    async def open(self, spec: BoxSpec) -> LiveBox:
        """See `Boxes`."""
        fitted = await self._walled.furnished(spec)
        if fitted.over is not None:
            raise BoxFailed("the backend `docker` lays no apt packages over a base; name an image that has them")
        await self._tidy()
        policy = self._walled.policy(spec)
        with contextlib.closing(Door()) as door:
            way_out = [] if policy.closed else [door.far.fileno()]
            box = await self._open_box(spec, fitted, way_out)
            await box.start(self._walled.start_line(spec, fitted, ContainerLimits(), bool(way_out)))
            if way_out:
                await self._walled.serve(box, policy, door)
        return box

    async def outcome(self, spec: BoxSpec, key: str) -> ToolOutcome | None:
        """See `Boxes`."""
        return await asyncio.to_thread(journal.find, Workdir(spec.workdir).journal, key)

    async def close(self) -> None:
        """See `Boxes`. Closes what it was given, too."""
        await self._disk.close()
        await asyncio.gather(*(box.close() for box in list(self._open)))
        await self._daemon.close()
        await self._walled.close()

    async def _open_box(self, spec: BoxSpec, fitted: Fittings, way_out: Sequence[int]) -> LiveBox:
        workdir = Workdir(spec.workdir)
        held = await lease(workdir, spec.epoch)
        async with contextlib.AsyncExitStack() as on_error:
            on_error.callback(held.release)
            user = await asyncio.to_thread(_prepared, workdir, fitted)
            folder = self._root / ".meetings" / os.urandom(8).hex()
            on_error.push_async_callback(asyncio.to_thread, shutil.rmtree, folder, True)
            await self._walled.lay_out(folder)
            await asyncio.to_thread(_tables, folder, user)
            container = await self._daemon.create(body(await self._frame(spec, workdir, fitted, user, folder)))
            on_error.push_async_callback(self._daemon.remove, container)
            connection = await self._met(container, folder, user)
            on_error.callback(connection.close)
            pid = int((await self._daemon.state(container))["Pid"])
            by_quota, group = await asyncio.to_thread(_bounded, spec, held, pid)
            await asyncio.to_thread(_hand_over, connection, workdir, held, way_out)
            on_error.pop_all()
        await asyncio.to_thread(shutil.rmtree, folder)
        box = LiveBox(spec.session_id, connection, lambda: self._end(container, held))
        self._open.add(box)
        box.on_end.append(lambda: self._open.discard(box))
        if not by_quota:
            self._disk.watch(box, group, workdir, spec.limits.disk_bytes)
        return box

    async def _frame(
        self, spec: BoxSpec, workdir: Workdir, fitted: Fittings, user: tuple[int, int], folder: Path
    ) -> Frame:
        assert fitted.base is not None
        mounts = [*self._walled.mounts(spec, workdir, fitted.mounts), Mount(folder, PLACE)]
        mounts += [Mount(folder / name, f"/etc/{name}") for name in ("passwd", "group")]
        return Frame(await self._image(fitted), fitted.base, mounts, spec.limits, user, self._label)

    async def _image(self, fitted: Fittings) -> str:
        assert fitted.base is not None
        name, tar = points(fitted.base)
        if name not in self._images:
            self._images[name] = await self._daemon.image(name, tar)
        return self._images[name]

    async def _met(self, container: str, folder: Path, user: tuple[int, int]) -> socket.socket:
        """Start it, and take its call. Raises `BoxFailed` with its last words when it does not."""
        with socket.socket(socket.AF_UNIX) as listening:
            await asyncio.to_thread(_listen, listening, folder / "control")
            await self._daemon.start(container)
            try:
                async with asyncio.timeout(_CONNECT_S):
                    connection, _ = await asyncio.get_running_loop().sock_accept(listening)
            except TimeoutError:
                raise NoIsolation(await self._daemon.words(container) or "the container did not begin") from None
        if _peer(connection) != user[0]:
            connection.close()
            raise BoxFailed("somebody else answered in place of the box")
        return connection

    async def _end(self, container: str, held: BoxLease) -> str:
        try:
            await self._daemon.kill(container)
            state = await self._daemon.state(container)
            words = await self._daemon.words(container)
            if state.get("OOMKilled"):
                words = f"{words} (the kernel ended processes of it for want of memory)".strip()
            await self._daemon.remove(container)
        except DaemonFailed as error:
            return str(error)
        finally:
            held.release()
        return words

    async def _tidy(self) -> None:
        """Once: take away what a server before this one has left."""
        if self._tidied:
            return
        self._tidied = True
        for container in await self._daemon.ended(f"freehold={self._label}"):
            await self._daemon.remove(container)


def _prepared(workdir: Workdir, fitted: Fittings) -> tuple[int, int]:
    assert fitted.base is not None
    user = users.user_of(workdir)
    workdir.prepare(user)
    workdir.remember(base=fitted.base.name)
    return (user, user) if user is not None else (os.geteuid(), os.getegid())


def _bounded(spec: BoxSpec, held: BoxLease, pid: int) -> tuple[bool, Group]:
    """Whether the kernel holds the session's files to their limit, and by what the box is made to stand still."""
    by_quota = quota.hold(Workdir(spec.workdir), spec.limits.disk_bytes)
    held.record(pid, spec.epoch, disk=quota.how(by_quota))
    return by_quota, group_of(pid)


def _tables(folder: Path, user: tuple[int, int]) -> None:
    """Names for the user of the box, whose number is not that of other boxes."""
    people = f"root:x:0:0:root:/root:/sbin/nologin\nagent:x:{user[0]}:{user[1]}:agent:/home/agent:/bin/bash\n"
    for name, text in (("passwd", people), ("group", f"root:x:0:\nagent:x:{user[1]}:\n")):
        (folder / name).write_text(text, "utf-8")
        (folder / name).chmod(0o644)


def _listen(listening: socket.socket, path: Path) -> None:
    """By a short name: the path of a socket may have 107 bytes."""
    listening.setblocking(False)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        listening.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
    path.chmod(0o666)
    listening.listen(1)


def _peer(connection: socket.socket) -> int:
    """The user at the other end."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", found)[1])


def _hand_over(connection: socket.socket, workdir: Workdir, held: BoxLease, way_out: Sequence[int]) -> None:
    record = journal.open_to_append(workdir.journal)
    try:
        connection.setblocking(True)
        socket.send_fds(connection, [b"."], [record, held.fd, *way_out])
    finally:
        os.close(record)
