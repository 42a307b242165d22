"""Installed packages as folders by hash: built once inside a box, mounted read-only by every session that names them.

A build reaches the package registries and nothing else, and no secret is near it: what a package does while it is
installed, it does to its own folder. Two that build the same at once wait for each other; a build that fails leaves
nothing and says what the package manager said.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from freehold.clock import Clock
from freehold.environments.aptsources import AptSources, apt_sources
from freehold.environments.base import Box, BoxDied, BoxFailed, BoxSpec, Limits
from freehold.environments.command import Fittings, Mount
from freehold.environments.folders import LockedFolder
from freehold.environments.managers import APT, APT_SOURCES, BUILT, SCRATCH, Manager
from freehold.environments.packages import LayerSettings
from freehold.environments.workdirs import Workdir, make_folder

log = logging.getLogger(__name__)

_BUILD_MS = 900_000
_WORDS = 4000
_TOLD = ("packages", "resolved", "size_bytes")
_DAY_US = 86_400_000_000
_BUILD_LIMITS = Limits(memory_bytes=2 << 30, processes=512, cpu_cores=2.0, disk_bytes=4 << 30, tmp_bytes=512 << 20)

OpenBox = Callable[[BoxSpec, Fittings], Awaitable[Box]]
Tell = Callable[["Progress"], None]


class LayerFailed(BoxFailed):
    """The packages of an environment could not be installed; the message holds the manager's own words."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One manager's packages. `resolved`: what was really installed."""

    manager: str
    path: Path
    target: str
    resolved: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """What packages are installed on. `identity`: other packages fit another one; `image`: as environments name it."""

    identity: str
    image: str | None = None
    system: Path | None = None
    """The root of the base, where that is not the host's; apt asks it what there is."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One layer to be had. `below`: those that were made before it."""

    manager: Manager
    specs: Sequence[str]
    base: Standing
    below: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """One manager's part of an environment: `ready` (it was there), `installing`, `installed` or `failed`.

    `place` of `parts`: 1 is the first. `detail`: what was installed, or the manager's own words.
    """

    manager: str
    state: str
    place: int
    parts: int
    detail: tuple[str, ...] = ()


def unheard(progress: Progress) -> None:
    """For those who do not ask."""


class InstallsPackages(Protocol):
    """What can install the packages of an environment ahead of its boxes."""

    async def install(
        self, environment: Mapping[str, Any], tell: Tell = ..., *, workspace_id: str = ...
    ) -> list[Layer]:
        """The layers of that `config`, built where they are missing. Raises `LayerFailed`, and `ImageRefused`."""
        ...

    async def layers(self) -> list[dict[str, Any]]:
        """Every layer there is, used last first: id, manager, packages, resolved, size_bytes and used_s."""
        ...

    async def collect_layers(self, unused_days: float) -> list[str]:
        """Remove those that no box was opened with for so long; gives their ids."""
        ...


class Layers:
    """All layers of this server, under `root`. Builds have their workdirs beside those of sessions, under `builds`."""

    def __init__(self, root: Path, builds: Path, settings: LayerSettings, clock: Clock, open_box: OpenBox) -> None:
        self._root = root
        self._folder = LockedFolder(root, clock)
        self._builds = builds
        self._settings = settings
        self._clock = clock
        self._open_box = open_box

    async def ready(self, packages: Mapping[str, Any], base: Standing, tell: Tell = unheard) -> list[Layer]:
        """The layers of those packages, built where they are not there yet, in the order of the managers.

        `base`: what they stand on; another base has other layers. What apt brings, those after it stand on.

        Raises:
            LayerFailed: one could not be built.
        """
        wanted = [(BUILT[name], sorted(set(packages[name]))) for name in BUILT if packages.get(name)]
        found: list[Layer] = []
        for place, (manager, specs) in enumerate(wanted, 1):

            def told(state: str, detail: Sequence[str] = (), name: str = manager.name, place: int = place) -> None:
                tell(Progress(name, state, place, len(wanted), tuple(detail)))

            layer = await self._layer(_Wanted(manager, specs, base, tuple(found)), told)
            found.append(layer)
            if manager is APT:
                base = replace(base, identity=f"{base.identity} {layer.path.name}")
        return found

    def kept(self) -> list[dict[str, Any]]:
        """Every layer there is: `{"id", "manager", "packages", "resolved", "size_bytes", "used_s"}`."""
        notes = sorted(self._root.glob("*.json"), key=lambda note: -note.stat().st_mtime)
        return [
            {
                "id": note.stem,
                "manager": note.stem.partition("-")[0],
                **{name: told[name] for name in _TOLD},
                "used_s": note.stat().st_mtime,
            }
            for note in notes
            if (told := json.loads(note.read_text("utf-8")))
        ]

    async def collect(self, unused_days: float) -> list[str]:
        """Remove layers that no box was opened with for so long; gives their keys."""
        return await asyncio.to_thread(self._collect, unused_days)

    async def _layer(self, wanted: _Wanted, tell: Callable[..., None]) -> Layer:
        manager = wanted.manager
        sources = await asyncio.to_thread(self._apt_sources, wanted.base.system) if manager is APT else None
        key = self._key(wanted, sources)
        async with self._folder.locked(key):
            there = self._folder.has(key)
            if not there:
                tell("installing", wanted.specs)
                try:
                    await self._build(wanted, sources, key)
                except LayerFailed as error:
                    tell("failed", [str(error)])
                    raise
            self._folder.touch(key)
        resolved = self._folder.note(key)["resolved"]
        tell("ready" if there else "installed", resolved)
        return Layer(manager.name, self._root / key, manager.target, tuple(resolved))

    def _apt_sources(self, system: Path | None) -> AptSources:
        make_folder(self._root, 0o711)
        root = system or Path("/")
        lines = self._settings.layer_apt_sources
        return apt_sources(self._root, lines, root / "etc/apt", root / "var/lib/dpkg/status")

    def _key(self, wanted: _Wanted, sources: AptSources | None) -> str:
        """What is not pinned is pinned by the week (or what `layer_fresh_days` says)."""
        manager = wanted.manager
        exact = all(manager.exact(spec) for spec in wanted.specs)
        period = 0 if exact else self._clock.now_us() // (_DAY_US * max(1, self._settings.layer_fresh_days))
        source = sources.digest if sources else str(self._settings.source(manager.name))
        parts = [wanted.base.identity, os.uname().machine, manager.name, source, str(period), *wanted.specs]
        return f"{manager.name}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}"

    async def _build(self, wanted: _Wanted, sources: AptSources | None, key: str) -> None:
        manager, specs = wanted.manager, wanted.specs
        log.info("installing %s packages: %s", manager.name, ", ".join(specs))
        workdir = Workdir(self._builds / f"building-{key}-{os.urandom(4).hex()}")
        environment = {**self._network(manager, sources), "image": wanted.base.image}
        spec = BoxSpec(workdir.path.name, workdir.path, 1, _BUILD_LIMITS, environment)
        inner = workdir.building
        below = fittings(wanted.below)
        mounts = [*below.mounts, Mount(inner, manager.target, writable=True)]
        if sources:
            mounts.append(Mount(sources.folder, APT_SOURCES))
        try:
            box = await self._open_box(spec, Fittings(mounts, below.over))
            try:
                command = manager.install(specs, self._settings.source(manager.name))
                await self._run(box, wanted, f"mkdir -p {SCRATCH}; {command}")
                listed = await self._run(box, wanted, f"({manager.listing()}) 2>/dev/null")
            finally:
                await box.close()
            told = {"packages": list(specs), "resolved": sorted(listed.split())}
            await asyncio.to_thread(self._folder.keep, inner, key, told)
        except BoxDied as error:
            raise LayerFailed(f"the box of the installation went away: {error}") from error
        finally:
            await asyncio.to_thread(workdir.delete)

    async def _run(self, box: Box, wanted: _Wanted, command: str) -> str:
        arguments = {"command": f"set -o pipefail; {command}", "timeout_ms": _BUILD_MS}
        outcome = await box.call("bash", arguments, key=os.urandom(8).hex(), epoch=1)
        said = str(outcome.content[0]["text"])
        if outcome.is_error:
            names = ", ".join(wanted.specs)
            raise LayerFailed(f"{wanted.manager.name} could not install {names}: {said[-_WORDS:]}")
        return said

    def _network(self, manager: Manager, sources: AptSources | None) -> dict[str, Any]:
        """Only the registries; of apt, the hosts of its sources."""
        source = self._settings.source(manager.name)
        parts = urlsplit(source.removeprefix("sparse+")) if source else None
        hosts = [f"{parts.hostname}:{parts.port or _port(parts.scheme)}"] if parts else []
        hosts += sources.hosts if sources else ()
        return {"networking": {"type": "limited", "allowed_hosts": hosts, "allow_package_managers": not source}}

    def _collect(self, unused_days: float) -> list[str]:
        oldest_s = self._clock.now_us() / 1e6 - unused_days * 86_400
        gone = []
        for note in self._root.glob("*.json"):
            if note.stat().st_mtime < oldest_s:
                note.unlink()
                shutil.rmtree(self._root / note.stem, ignore_errors=True)
                gone.append(note.stem)
        return gone


def _port(scheme: str) -> int:
    return 80 if scheme == "http" else 443


def fittings(layers: Sequence[Layer]) -> Fittings:
    """What a box is opened with to have these layers: apt's lies over the base, the others have their own places."""
    over = next((layer.path for layer in layers if layer.manager == APT.name), None)
    return Fittings([Mount(layer.path, layer.target) for layer in layers if layer.path != over], over)
