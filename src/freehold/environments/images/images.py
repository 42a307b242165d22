"""All images of this server: unpacked once by digest, layer by layer, put together once, and mounted by many boxes.

They lie beside the installed packages and are collected with them. A layer that several images share is unpacked and
stored once. This module does not know the API, or who may name what.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from freehold.clock import Clock
from freehold.config import setting
from freehold.environments import users
from freehold.environments.chores import Chore, ChoreFailed
from freehold.environments.command import Mount
from freehold.environments.folders import LockedFolder
from freehold.environments.images.archives import ImageRefused, open_archive
from freehold.environments.images.assemble import assemble
from freehold.environments.images.debian import manifest_of
from freehold.environments.images.manifest import LayerBlob, Manifest, read_manifest
from freehold.environments.images.names import check_image, is_upload
from freehold.environments.workdirs import Workdir, give, make_folder

log = logging.getLogger(__name__)

_UNPACK_S = 1800.0
_BASE = "base"
"""The file that names the image which boxes stand on where none is named."""
_READ = ("Env", "User", "WorkingDir")

Do = Callable[[Workdir, Chore], Awaitable[None]]
Uploaded = Callable[[str, str], Awaitable[Path]]
"""From a workspace and the id of a file to where its bytes are. Raises `NotFound`."""


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """Which images there are, and how large they may be."""

    image_folder: Path | None = setting(
        None, "Folder of images that environments may name: OCI layouts (folders or tars) and `docker save` tars."
    )
    box_base: str = setting(
        "auto",
        "What boxes stand on where no image is named: `auto` is what `freehold env build --base` has built, else the "
        "host's /usr; `host` is always that.",
    )
    most_image_bytes: int = setting(10 << 30, "No image may be larger, unpacked.", unit="bytes")
    most_image_files: int = setting(1_000_000, "No layer of an image may hold more files.")


@dataclass(frozen=True, slots=True)
class Image:
    """One that can be mounted. `digest`: of its configuration, as `docker images` shows it."""

    name: str
    digest: str
    root: Path
    config: Mapping[str, Any]


def unheard(state: str) -> None:
    """For those who do not ask."""


async def _no_uploads(workspace_id: str, file_id: str) -> Path:
    raise ImageRefused(f"{file_id} is not unpacked yet, and files are not at hand here; a session does that")


class Images:
    """Those under `root`, where installed packages lie too. `builds`: where workdirs of unpacking stand."""

    def __init__(
        self, root: Path, builds: Path, settings: ImageSettings, clock: Clock, do: Do, uploaded: Uploaded | None = None
    ) -> None:
        self._folder = LockedFolder(root, clock)
        self._builds = builds
        self._settings = settings
        self._do = do
        self._uploaded = uploaded or _no_uploads
        self._seen: dict[tuple[Path, int, int], Manifest] = {}

    async def check(self, name: str, workspace_id: str) -> None:
        """Read the descriptions of that image, as someone may want to stand on it.

        Raises:
            NotFound: there is no such file.
            ImageRefused: it cannot be had, and why.
        """
        await self._manifest(name, workspace_id)

    async def ready(self, name: str, workspace_id: str, tell: Callable[[str], None] = unheard) -> Image:
        """That image, unpacked where it is not yet. `tell` hears `installing`, and `installed` or `ready`.

        An upload is needed only until it is unpacked.

        Raises:
            ImageRefused: it is none, or too large.
        """
        digest = await asyncio.to_thread(self._known, name) if is_upload(name) else None
        manifest = None if digest else await self._manifest(name, workspace_id)
        digest = digest or (manifest.digest if manifest else "")
        key = _key("image", digest)
        async with self._folder.locked(key):
            there = self._folder.has(key)
            if not there:
                assert manifest is not None
                tell("installing")
                await self._make(name, key, manifest)
            self._folder.touch(key)
        if is_upload(name):
            await asyncio.to_thread(self._note_upload, name, digest)
        tell("ready" if there else "installed")
        note = self._folder.note(key)
        return Image(name, digest, self._folder.root / key, note["config"])

    async def take_base(self, tar: Path, name: str) -> Image:
        """Make the system in that tar what boxes stand on where no image is named.

        Raises:
            ImageRefused: it cannot be unpacked.
        """
        manifest = await asyncio.to_thread(manifest_of, tar, name)
        key = _key("image", manifest.digest)
        async with self._folder.locked(key):
            if not self._folder.has(key):
                await self._make(name, key, manifest)
            self._folder.touch(key)
        fresh = self._folder.root / f".base.{os.urandom(4).hex()}~"
        fresh.write_text(json.dumps({"name": name, "digest": manifest.digest}), "utf-8")
        fresh.replace(self._folder.root / _BASE)
        return Image(name, manifest.digest, self._folder.root / key, {})

    def base(self) -> Image | None:
        """What was made the base, if it is still there and wanted; it counts as used now."""
        if self._settings.box_base == "host":
            return None
        try:
            told = json.loads((self._folder.root / _BASE).read_text("utf-8"))
        except FileNotFoundError:
            return None
        key = _key("image", told["digest"])
        if not self._folder.has(key):
            return None
        self._folder.touch(key)
        return Image(told["name"], told["digest"], self._folder.root / key, {})

    async def _manifest(self, name: str, workspace_id: str) -> Manifest:
        if is_upload(name):
            path = await self._uploaded(workspace_id, name)
        else:
            path = await asyncio.to_thread(self._path_of, name)

        def look() -> Manifest:
            index = path / "index.json" if path.is_dir() else path
            found = index.stat() if index.exists() else path.stat()
            seen = (path, found.st_mtime_ns, found.st_size)
            if seen not in self._seen:
                self._seen[seen] = read_manifest(open_archive(path))
            return self._seen[seen]

        try:
            return await asyncio.to_thread(look)
        except OSError as error:
            raise ImageRefused(f"{name}: {error.strerror}") from error
        except ImageRefused as error:
            raise ImageRefused(f"image {name!r}: {error}") from error

    def _path_of(self, name: str) -> Path:
        folder = self._settings.image_folder
        if folder is None:
            raise ImageRefused(f"{name!r}: this server names no image_folder; upload the image and give its file id")
        path = folder / check_image(name)
        if not path.resolve().is_relative_to(folder.resolve()) or not path.exists():
            raise ImageRefused(f"{name!r} is not in this server's image_folder")
        return path

    async def _make(self, name: str, key: str, manifest: Manifest) -> None:
        log.info("unpacking the image %s (%s)", name, manifest.digest)
        left = self._settings.most_image_bytes
        layers = []
        for number, layer in enumerate(manifest.layers, 1):
            try:
                made = await self._layer(layer, left)
            except ChoreFailed as error:
                raise ImageRefused(f"image {name!r}: layer {number} of {len(manifest.layers)}: {error}") from error
            left -= self._folder.note(made)["size_bytes"]
            if left < 0:
                raise ImageRefused(f"image {name!r} is larger unpacked than the most_image_bytes of this server")
            layers.append(self._folder.root / made)
        config = manifest.config.get("config")
        kept = {one: config[one] for one in _READ if one in config} if isinstance(config, dict) else {}
        told = {"packages": [name], "resolved": [manifest.digest], "config": kept}

        def put_together() -> None:
            fresh = self._folder.root / f".{key}~"
            shutil.rmtree(fresh, ignore_errors=True)
            try:
                assemble(layers, fresh)
                self._folder.keep(fresh, key, told)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)

        await asyncio.to_thread(put_together)

    async def _layer(self, layer: LayerBlob, most_bytes: int) -> str:
        key = _key("imagelayer", layer.diff_id)
        async with self._folder.locked(key):
            if not self._folder.has(key):
                await self._unpack(layer, key, most_bytes)
            self._folder.touch(key)
        return key

    async def _unpack(self, layer: LayerBlob, key: str, most_bytes: int) -> None:
        workdir = Workdir(self._builds / f"unpacking-{key}-{os.urandom(4).hex()}")
        free = shutil.disk_usage(self._folder.root).free
        bounds = [str(min(most_bytes, free // 2)), str(self._settings.most_image_files)]
        program = resources.files(__package__).joinpath("unpack.py").read_text("utf-8")
        what = [str(layer.blob.size), layer.digest or "", layer.diff_id, "/layer", *bounds]
        try:
            await asyncio.to_thread(_prepare, workdir)
            with layer.blob.path.open("rb") as packed:
                os.lseek(packed.fileno(), layer.blob.offset, os.SEEK_SET)
                mounts = [Mount(workdir.building, "/layer", writable=True)]
                script = 'exec python3 -I -c "$@"'
                chore = Chore(script, mounts, [program, *what], packed.fileno(), timeout_s=_UNPACK_S)
                await self._do(workdir, chore)
            told = {"packages": [], "resolved": [layer.diff_id]}
            await asyncio.to_thread(self._folder.keep, workdir.building, key, told)
        finally:
            await asyncio.to_thread(workdir.delete)

    def _known(self, file_id: str) -> str | None:
        """The digest of what an upload was found to hold, if that is still unpacked."""
        try:
            digest = (self._folder.root / "uploads" / file_id).read_text("ascii")
        except FileNotFoundError:
            return None
        return digest if self._folder.has(_key("image", digest)) else None

    def _note_upload(self, file_id: str, digest: str) -> None:
        make_folder(self._folder.root / "uploads", 0o700)
        (self._folder.root / "uploads" / file_id).write_text(digest, "ascii")


def _key(kind: str, digest: str) -> str:
    return f"{kind}-{digest.removeprefix('sha256:')[:32]}"


def _prepare(workdir: Workdir) -> None:
    workdir.make()
    make_folder(workdir.building, 0o755)
    give(workdir.building, users.user_of(workdir))
