"""What a box may use, held by the kernel: cgroup v2, cgroup v1, or only limits per process, whichever is there.

A group is joined before the supervisor is told to begin, so nothing of an agent ever runs outside it. Control groups
bound the box as a whole; without them each process is bounded alone (`RLIMIT_AS`), which `freehold doctor` says.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from freehold.environments.base import Limits

_PREFIX, _SERVER = "freehold-box-", "freehold-server"
_CPU_PERIOD_US = 100_000
_YOUNG_S = 60.0
SPARE_PROCESSES = 16
"""For the supervisor and its forks, so that an agent that used up its own share can still be answered."""
_REMEDY = "delegate a cgroup v2 subtree to the server (systemd: Delegate=yes; container: a writable /sys/fs/cgroup)"


class Group(Protocol):
    """The processes of one box."""

    def entered(self) -> AbstractContextManager[bool]:
        """Within: what this thread starts is in the group from its first moment. Gives False where that cannot be done;
        then `add` it.
        """

    def add(self, pid: int) -> None:
        """Put a process in; its later children follow. Costs up to 10 ms: the kernel waits for all its processors."""

    def freeze(self) -> bool:
        """Stop all of it where it stands. False: that cannot be done here."""

    def thaw(self) -> None:
        """Let it go on."""

    def killed_for_memory(self) -> int:
        """How many processes the kernel has ended because the box used up its memory."""

    def remove(self) -> None:
        """Take the group away, after its last process has ended."""


class Limiter(Protocol):
    """Makes groups of one kind."""

    name: str
    controls: frozenset[str]
    """Of `memory`, `processes`, `cpu`, `freeze`: what it bounds for a box as a whole."""

    def group(self, name: str, limits: Limits) -> Group:
        """A new group with those limits set, still empty."""


class _NoGroup:
    def entered(self) -> AbstractContextManager[bool]:
        return contextlib.nullcontext(True)

    def add(self, pid: int) -> None:
        return None

    def freeze(self) -> bool:
        return False

    def thaw(self) -> None:
        return None

    def killed_for_memory(self) -> int:
        return 0

    def remove(self) -> None:
        return None


class ProcessLimits:
    """Nothing but `rlimits`, which the supervisor sets itself."""

    name = "rlimits"
    controls: frozenset[str] = frozenset()

    def group(self, name: str, limits: Limits) -> Group:
        """A group that does nothing."""
        return _NoGroup()


@dataclass(frozen=True, slots=True)
class _Folders:
    """One folder per controller (v1), or the same one for all (v2)."""

    by_control: Mapping[str, Path]

    def write(self, control: str, file: str, value: object) -> None:
        if control in self.by_control:
            (self.by_control[control] / file).write_text(f"{value}", "ascii")

    def try_write(self, control: str, file: str, value: object) -> None:
        with contextlib.suppress(OSError):
            self.write(control, file, value)

    def number(self, control: str, file: str, key: str) -> int:
        try:
            lines = (self.by_control[control] / file).read_text("ascii").splitlines()
        except (OSError, KeyError):
            return 0
        return next((int(line.split()[1]) for line in lines if line.split()[0] == key), 0)

    def make(self) -> None:
        for folder in self.by_control.values():
            folder.mkdir(parents=True, exist_ok=True)

    def remove(self) -> None:
        for folder in set(self.by_control.values()):
            with contextlib.suppress(OSError):
                folder.rmdir()


class CgroupV2:
    """A subtree of the one hierarchy that is ours to divide. `root`: the folder under which groups are made."""

    name = "cgroup v2"

    def __init__(self, root: Path, controls: frozenset[str]) -> None:
        self._root = root
        self.controls = controls

    def group(self, name: str, limits: Limits) -> Group:
        """See `Limiter`."""
        folder = self._root / f"{_PREFIX}{name}"
        folders = _Folders(dict.fromkeys(self.controls | {"freeze"}, folder))
        folders.make()
        folders.write("memory", "memory.max", limits.memory_bytes)
        folders.try_write("memory", "memory.swap.max", 0)
        folders.write("processes", "pids.max", limits.processes + SPARE_PROCESSES)
        folders.write("cpu", "cpu.max", f"{_quota_us(limits)} {_CPU_PERIOD_US}")
        return _GroupV2(folders)

    def sweep(self) -> None:
        """Take away what boxes of servers that were killed have left."""
        _sweep([self._root])


class _GroupV2:
    def __init__(self, folders: _Folders) -> None:
        self._folders = folders

    def entered(self) -> AbstractContextManager[bool]:
        return contextlib.nullcontext(False)  # a thread cannot leave the group of its process here

    def add(self, pid: int) -> None:
        self._folders.write("freeze", "cgroup.procs", pid)

    def freeze(self) -> bool:
        self._folders.write("freeze", "cgroup.freeze", 1)
        return True

    def thaw(self) -> None:
        self._folders.write("freeze", "cgroup.freeze", 0)

    def killed_for_memory(self) -> int:
        return self._folders.number("memory", "memory.events", "oom_kill")

    def remove(self) -> None:
        self._folders.remove()


class CgroupV1:
    """A folder in each controller's own hierarchy. `roots`: where this server stands in each."""

    name = "cgroup v1"

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = dict(roots)
        self.controls = frozenset(roots)

    def group(self, name: str, limits: Limits) -> Group:
        """See `Limiter`."""
        folders = _Folders({control: root / f"{_PREFIX}{name}" for control, root in self._roots.items()})
        folders.make()
        folders.write("memory", "memory.limit_in_bytes", limits.memory_bytes)
        folders.try_write("memory", "memory.memsw.limit_in_bytes", limits.memory_bytes)
        folders.write("processes", "pids.max", limits.processes + SPARE_PROCESSES)
        folders.write("cpu", "cpu.cfs_period_us", _CPU_PERIOD_US)
        folders.write("cpu", "cpu.cfs_quota_us", _quota_us(limits))
        return _GroupV1(folders, self._roots)

    def sweep(self) -> None:
        """Take away what boxes of servers that were killed have left. What stands still cannot even be killed here."""
        for state in self._roots.get("freeze", Path(os.devnull)).glob(f"{_PREFIX}*/freezer.state"):
            with contextlib.suppress(OSError):
                state.write_text("THAWED", "ascii")
        _sweep(list(self._roots.values()))


class _GroupV1:
    def __init__(self, folders: _Folders, homes: Mapping[str, Path]) -> None:
        self._folders = folders
        self._homes = homes
        """Where the server itself stands, by control."""

    @contextlib.contextmanager
    def entered(self) -> Iterator[bool]:
        """This thread goes in itself, so that what it starts is born inside, and comes out again: 0.1 ms.

        A thread that moves itself needs no lock over all processes (kernel, `cgroup_procs_write_start`).
        """
        inside = True
        try:
            for control in self._folders.by_control:
                self._folders.write(control, "tasks", 0)
        except OSError:
            inside = False
        try:
            yield inside
        finally:
            for home in self._homes.values():
                (home / "tasks").write_text("0", "ascii")

    def add(self, pid: int) -> None:
        for control in self._folders.by_control:
            self._folders.write(control, "cgroup.procs", pid)

    def freeze(self) -> bool:
        self._folders.write("freeze", "freezer.state", "FROZEN")
        return "freeze" in self._folders.by_control

    def thaw(self) -> None:
        self._folders.write("freeze", "freezer.state", "THAWED")

    def killed_for_memory(self) -> int:
        return self._folders.number("memory", "memory.oom_control", "oom_kill")

    def remove(self) -> None:
        self._folders.remove()


def best_limiter(mountinfo: str | None = None, own_groups: str | None = None) -> Limiter:
    """The strongest that works here; each is tried by making a group. The arguments are for tests."""
    mounts = _mounts(mountinfo if mountinfo is not None else Path("/proc/self/mountinfo").read_text("utf-8"))
    own = own_groups if own_groups is not None else Path("/proc/self/cgroup").read_text("utf-8")
    for found in (_v2(mounts, own), _v1(mounts, own)):
        if found is not None and found.controls and _works(found):
            found.sweep()
            return found
    return ProcessLimits()


def group_of(pid: int) -> Group:
    """The group that a daemon has put this process into. It can be frozen where this server may write there."""
    mounts = _mounts(Path("/proc/self/mountinfo").read_text("utf-8"))
    own, ours = (_paths(Path(f"/proc/{one}/cgroup").read_text("utf-8")) for one in (pid, "self"))
    own = {name: path for name, path in own.items() if ours.get(name) != path}  # never ourselves
    v1 = next((m for m in mounts if m.kind == "cgroup" and "freezer" in m.options), None)
    v2 = next((m for m in mounts if m.kind == "cgroup2"), None)
    if v1 is not None and "freezer" in own and os.access(v1.folder(own["freezer"]) / "freezer.state", os.W_OK):
        return _GroupV1(_Folders({"freeze": v1.folder(own["freezer"])}), {})
    if v2 is not None and "" in own and os.access(v2.folder(own[""]) / "cgroup.freeze", os.W_OK):
        return _GroupV2(_Folders({"freeze": v2.folder(own[""])}))
    return _NoGroup()


def remedy(limiter: Limiter) -> str:
    """What to do about the bounds that this limiter lacks."""
    return "" if {"memory", "processes", "cpu", "freeze"} <= limiter.controls else _REMEDY


def _sweep(roots: Sequence[Path]) -> None:
    """A group with a process in it cannot be removed; a young one may be just about to get its first."""
    oldest_s = time.time() - _YOUNG_S
    for folder in (folder for root in roots for folder in root.glob(f"{_PREFIX}*")):
        with contextlib.suppress(OSError):
            if folder.stat().st_ctime < oldest_s:
                folder.rmdir()


def _quota_us(limits: Limits) -> int:
    return max(1000, int(limits.cpu_cores * _CPU_PERIOD_US))


def _works(limiter: Limiter) -> bool:
    try:
        limiter.group(f"trial-{os.getpid()}", Limits()).remove()
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Mount:
    """A mounted hierarchy: `kind` is `cgroup` or `cgroup2`, `root` the part of it that is mounted at `point`."""

    kind: str
    root: str
    point: Path
    options: frozenset[str]

    def folder(self, own: str) -> Path:
        """Where this process stands in it."""
        inner = os.path.relpath(own, self.root) if own.startswith(self.root) else "."
        return self.point / inner


def _mounts(mountinfo: str) -> list[_Mount]:
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup"):
            fields, (kind, _, options) = before.split(), after.split()[:3]
            found.append(_Mount(kind, fields[3], Path(fields[4]), frozenset(options.split(","))))
    return found


def _paths(own_groups: str) -> dict[str, str]:
    """Where a process stands, by controller; the one hierarchy of v2 has no name."""
    own = {}
    for line in own_groups.splitlines():
        _, names, path = line.split(":", 2)
        own.update(dict.fromkeys(names.split(","), path))
    return own


def _v1(mounts: Sequence[_Mount], own_groups: str) -> CgroupV1 | None:
    own = _paths(own_groups)
    roots = {}
    for control, name in {"memory": "memory", "processes": "pids", "cpu": "cpu", "freeze": "freezer"}.items():
        mount = next((m for m in mounts if m.kind == "cgroup" and name in m.options), None)
        if mount is not None and name in own and os.access(mount.folder(own[name]), os.W_OK):
            roots[control] = mount.folder(own[name])
    return CgroupV1(roots) if roots else None


def _v2(mounts: Sequence[_Mount], own_groups: str) -> CgroupV2 | None:
    mount = next((m for m in mounts if m.kind == "cgroup2"), None)
    own = _paths(own_groups).get("")
    if mount is None or own is None:
        return None
    folder = mount.folder(own)
    if folder.name == _SERVER:
        folder = folder.parent  # this process has been here before
    names = {"memory": "memory", "processes": "pids", "cpu": "cpu"}
    try:
        offered = (folder / "cgroup.controllers").read_text("ascii").split()
        controls = frozenset(control for control, name in names.items() if name in offered)
        if not {"memory", "processes"} <= controls:
            return None  # v1 holds them; a group that bounds nothing would only look like one
        _divide(folder, [names[control] for control in sorted(controls)])
    except OSError:
        return None
    return CgroupV2(folder, controls | {"freeze"})


def _divide(folder: Path, controllers: Sequence[str]) -> None:
    """Hand the controllers down. A group that has children must be empty itself: the server moves into one of them."""
    server = folder / _SERVER
    server.mkdir(exist_ok=True)
    for pid in (folder / "cgroup.procs").read_text("ascii").split():
        with contextlib.suppress(ProcessLookupError):
            (server / "cgroup.procs").write_text(pid, "ascii")
    (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers), "ascii")
