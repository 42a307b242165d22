"""Installed packages as folders by hash: built once inside a box, mounted read-only by every session that names them.

A build reaches the package registries and nothing else, and no secret is near it: what a package does while it is
installed, it does to its own folder. Two that build the same at once wait for each other; a build that fails leaves
nothing and says what the package manager said.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from freehold.clock import Clock
from freehold.environments.base import Box, BoxDied, BoxFailed, BoxSpec, Limits
from freehold.environments.command import Mount
from freehold.environments.packages import BUILT, MANAGERS, LayerSettings, Manager
from freehold.environments.workdirs import Workdir, make_folder

log = logging.getLogger(__name__)

_BUILD_MS = 900_000
_WORDS = 4000
_DAY_US = 86_400_000_000
_BUILD_LIMITS = Limits(memory_bytes=2 << 30, processes=512, cpu_cores=2.0, disk_bytes=4 << 30, tmp_bytes=512 << 20)

OpenBox = Callable[[BoxSpec, Sequence[Mount]], Awaitable[Box]]


class LayerFailed(BoxFailed):
    """The packages of an environment could not be installed; the message holds the manager's own words."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One manager's packages. `resolved`: what was really installed."""

    manager: str
    path: Path
    target: str
    resolved: tuple[str, ...]


class Layers:
    """All layers of this server, under `root`. Builds have their workdirs beside those of sessions, under `builds`."""

    def __init__(self, root: Path, builds: Path, settings: LayerSettings, clock: Clock, open_box: OpenBox) -> None:
        self._root = root
        self._builds = builds
        self._settings = settings
        self._clock = clock
        self._open_box = open_box
        self._locks: dict[str, asyncio.Lock] = {}

    async def ready(self, packages: Mapping[str, Any], base: str) -> list[Layer]:
        """The layers of those packages, built where they are not there yet, in the order of the managers.

        `base`: what they stand on; another base has other layers.

        Raises:
            LayerFailed: one could not be built.
        """
        found = []
        for name in MANAGERS:
            specs = sorted(set(packages.get(name) or []))
            if specs and name not in BUILT:
                raise LayerFailed(f"packages.{name} cannot be installed by this server")
            if specs:
                found.append(await self._layer(BUILT[name], specs, base))
        return found

    async def collect(self, unused_days: float) -> list[str]:
        """Remove layers that no box was opened with for so long; gives their keys."""
        return await asyncio.to_thread(self._collect, unused_days)

    async def _layer(self, manager: Manager, specs: Sequence[str], base: str) -> Layer:
        key = self._key(manager, specs, base)
        note = self._root / f"{key}.json"
        async with self._locked(key):
            if not note.exists():
                await self._build(manager, specs, key, note)
            used_s = self._clock.now_us() / 1e6
            os.utime(note, (used_s, used_s))
        resolved = json.loads(note.read_text("utf-8"))["resolved"]
        return Layer(manager.name, self._root / key, manager.target, tuple(resolved))

    def _key(self, manager: Manager, specs: Sequence[str], base: str) -> str:
        """What is not pinned is pinned by the week (or what `layer_fresh_days` says)."""
        exact = all(manager.exact(spec) for spec in specs)
        period = 0 if exact else self._clock.now_us() // (_DAY_US * max(1, self._settings.layer_fresh_days))
        parts = [base, os.uname().machine, manager.name, str(self._source(manager)), str(period), *specs]
        return f"{manager.name}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}"

    async def _build(self, manager: Manager, specs: Sequence[str], key: str, note: Path) -> None:
        log.info("installing %s packages: %s", manager.name, ", ".join(specs))
        workdir = Workdir(self._builds / f"building-{key}-{os.urandom(4).hex()}")
        spec = BoxSpec(workdir.path.name, workdir.path, 1, _BUILD_LIMITS, self._network(manager))
        inner = workdir.workspace / "layer"
        try:
            box = await self._open_box(spec, [Mount(inner, manager.target, writable=True)])
            try:
                await self._run(box, manager, specs, manager.install(specs, self._source(manager)))
                listed = await self._run(box, manager, specs, manager.listing())
            finally:
                await box.close()
            await asyncio.to_thread(_keep, inner, self._root / key, note, listed.split())
        except BoxDied as error:
            raise LayerFailed(f"the box of the installation went away: {error}") from error
        finally:
            await asyncio.to_thread(workdir.delete)

    async def _run(self, box: Box, manager: Manager, specs: Sequence[str], command: str) -> str:
        arguments = {"command": f"set -o pipefail; {command}", "timeout_ms": _BUILD_MS}
        outcome = await box.call("bash", arguments, key=os.urandom(8).hex(), epoch=1)
        said = str(outcome.content[0]["text"])
        if outcome.is_error:
            raise LayerFailed(f"{manager.name} could not install {', '.join(specs)}: {said[-_WORDS:]}")
        return said

    def _source(self, manager: Manager) -> str | None:
        return self._settings.layer_pip_index if manager.name == "pip" else self._settings.layer_npm_registry

    def _network(self, manager: Manager) -> dict[str, Any]:
        source = self._source(manager)
        hosts = [f"{part.hostname}:{part.port or _port(part.scheme)}" for part in [urlsplit(source)]] if source else []
        return {"networking": {"type": "limited", "allowed_hosts": hosts, "allow_package_managers": not source}}

    @contextlib.asynccontextmanager
    async def _locked(self, key: str) -> AsyncIterator[None]:
        """Against others of this server, and against other servers on the same folder."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            await asyncio.to_thread(make_folder, self._root, 0o711)
            fd = os.open(self._root / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                await asyncio.to_thread(fcntl.flock, fd, fcntl.LOCK_EX)
                yield
            finally:
                os.close(fd)

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


def _keep(inner: Path, layer: Path, note: Path, resolved: Sequence[str]) -> None:
    """Into its place in one step; the note beside it says that it is whole."""
    shutil.rmtree(layer, ignore_errors=True)  # of a server that died between the two
    inner.rename(layer)
    fresh = note.with_suffix(".json~")
    fresh.write_text(json.dumps({"resolved": sorted(resolved)}), "utf-8")
    fresh.replace(note)
