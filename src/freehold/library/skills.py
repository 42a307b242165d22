"""Skills: folders of instructions and scripts that an agent may use, in versions, each a checked archive on disk.

Knows no HTTP. What a skill must look like stands in `bundles`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from freehold.clock import Clock
from freehold.errors import FreeholdError, InvalidRequest, TooLarge
from freehold.ids import NewId
from freehold.library.blobs import READ_BYTES, Blobs, Incoming
from freehold.library.bundles import (
    MOST_FILES,
    UPLOAD_LIMIT_BYTES,
    Front,
    Source,
    archive_sources,
    pack,
    unpack,
)
from freehold.library.slices import Slice
from freehold.library.sweeper import Sweeper
from freehold.store.skills import LATEST, SkillRow, SkillRows, SkillVersionRow

MOST_DISPLAY_NAME_CHARS = 255


class Parts:
    """The files of one upload, in a scratch file that has no name and so goes with the process."""

    def __init__(self, scratch: IO[bytes]) -> None:
        self._scratch = scratch
        self._found: list[tuple[str, int, int]] = []
        self._size = 0

    async def add(self, path: str | None, pieces: AsyncIterator[bytes]) -> None:
        """Take one file in. Raises `TooLarge` beyond 30 MB in all."""
        if not path:
            raise InvalidRequest("files[]: a part has no file name; it must be the path within the skill.")
        if len(self._found) >= MOST_FILES:
            raise InvalidRequest(f"files[]: more than the {MOST_FILES} files that one skill may have.")
        start = self._size
        async for piece in pieces:
            self._size += len(piece)
            if self._size > UPLOAD_LIMIT_BYTES:
                raise TooLarge(f"files[]: together larger than the {UPLOAD_LIMIT_BYTES:,} bytes that a skill may have.")
            await asyncio.to_thread(self._scratch.write, piece)
        self._found.append((path, start, self._size - start))

    def pack(self, target: IO[bytes]) -> Front:
        """Check everything and write the archive; blocks, so for a thread."""
        self._scratch.flush()
        if not self._found:
            raise InvalidRequest("files[]: the parts with the files are missing.")
        if len(self._found) == 1 and self._found[0][0].lower().endswith((".zip", ".skill")):
            with archive_sources(self._scratch) as sources:
                return pack(sources, target)
        return pack([self._source(*found) for found in self._found], target)

    def _source(self, path: str, start: int, size: int) -> Source:
        return Source(path, None, lambda: io.BufferedReader(Slice(self._scratch, start, size)))


@dataclass(frozen=True, slots=True)
class Packed:
    """An upload that is a skill, with its archive on the way to being a blob."""

    front: Front
    sha256: str
    incoming: Incoming


@dataclass(frozen=True, slots=True)
class LaidOut:
    """A skill on disk: what the model is told of it, and the folder with its SKILL.md."""

    name: str
    description: str
    folder: Path


class Skills:
    """Skills of all workspaces; every call names the one that it may see."""

    def __init__(self, rows: SkillRows, blobs: Blobs, sweeper: Sweeper, *, clock: Clock, ids: NewId) -> None:
        self.rows = rows
        self.folder = blobs.folder / "laid-out"
        """Where versions are laid out for boxes, each in a folder of its own; made here."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self._blobs = blobs
        self._sweeper = sweeper
        self._clock = clock
        self._ids = ids

    @asynccontextmanager
    async def uploading(self) -> AsyncIterator[Parts]:
        """Where the parts of an upload go."""
        scratch = self._blobs.scratch()
        try:
            yield Parts(scratch)
        finally:
            scratch.close()

    async def create(self, workspace_id: str, parts: Parts, display_name: str | None) -> SkillRow:
        """A new skill of these files. Raises `InvalidRequest` for whatever is wrong with them."""
        shown = None if display_name is None else _checked_display_name(display_name)
        now_us = self._clock.now_us()
        async with self._packed(parts) as packed:
            version = self._version(packed, self._ids("skill"), now_us)
            skill = SkillRow(
                id=version.skill_id,
                workspace_id=workspace_id,
                name=version.name,
                display_name=shown or version.name,
                latest_version_id=version.id,
                created_us=now_us,
                updated_us=now_us,
            )
            return await self.rows.create(skill, version, ensure_blob=lambda: packed.incoming.ensure(packed.sha256))

    async def add_version(self, workspace_id: str, skill_id: str, parts: Parts) -> SkillVersionRow:
        """The next version: all its files anew, under the same name. Raises `NotFound`, `InvalidRequest`."""
        now_us = self._clock.now_us()
        await self.rows.get(workspace_id, skill_id)
        async with self._packed(parts) as packed:

            def make(skill: SkillRow, newest_us: int) -> SkillVersionRow:
                if packed.front.name != skill.name:
                    raise InvalidRequest(
                        f"files: the name in SKILL.md is {packed.front.name!r}, but the skill is {skill.name!r}; a "
                        f"skill keeps its name."
                    )
                return self._version(packed, skill_id, max(now_us, newest_us + 1))

            return await self.rows.add_version(
                workspace_id, skill_id, make, ensure_blob=lambda: packed.incoming.ensure(packed.sha256)
            )

    async def delete(self, workspace_id: str, skill_id: str) -> None:
        """Delete a skill and all its versions. Raises `NotFound`."""
        for sha256 in await self.rows.delete(workspace_id, skill_id):
            await self._sweeper.remove_unused(sha256)

    async def delete_version(self, workspace_id: str, skill_id: str, version: str) -> SkillVersionRow:
        """Delete one version. Raises `NotFound`, and `InvalidRequest` for the only one there is."""
        row = await self.rows.delete_version(workspace_id, skill_id, version, self._clock.now_us())
        await self._sweeper.remove_unused(row.sha256)
        return row

    async def resolve(self, workspace_id: str, skill_id: str, version: str | None) -> SkillVersionRow:
        """The version that a reference means now: pin its `id` when a session begins. Raises `NotFound`."""
        return await self.rows.version(workspace_id, skill_id, version or LATEST)

    async def pinned(self, workspace_id: str, skills: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        """An agent's skills as a session keeps them: each `latest` is now the id of a version. Raises `NotFound`."""
        return [
            {**skill, "version": (await self.resolve(workspace_id, skill["skill_id"], skill["version"])).id}
            for skill in skills
        ]

    async def laid_out(self, workspace_id: str, skill_id: str, version: str) -> LaidOut:
        """A version's files in a folder to be mounted read-only; sessions with the same files share it.

        The folder is complete or not there, whoever else lays it out at the same time. Raises `NotFound`.
        """
        row = await self.rows.version(workspace_id, skill_id, version)
        folder = self.folder / row.sha256
        if not folder.exists():
            await asyncio.to_thread(_lay_out, await self._archive(row), folder)
        return LaidOut(row.name, row.description, folder)

    async def download(
        self, workspace_id: str, skill_id: str, version: str
    ) -> tuple[SkillVersionRow, AsyncIterator[bytes]]:
        """A version's archive: a zip with one top folder, named after the skill. Raises `NotFound`."""
        row = await self.rows.version(workspace_id, skill_id, version)
        await self._archive(row)
        return row, self._blobs.chunks(row.sha256)

    async def _archive(self, row: SkillVersionRow) -> Path:
        try:
            return await self._blobs.local(row.sha256)
        except FileNotFoundError as error:
            raise FreeholdError(f"The archive of {row.id} is missing in the server's store.") from error

    @asynccontextmanager
    async def _packed(self, parts: Parts) -> AsyncIterator[Packed]:
        scratch = self._blobs.scratch()
        try:
            front = await asyncio.to_thread(parts.pack, scratch)
            scratch.seek(0)
            async with self._blobs.incoming() as incoming:
                while piece := await asyncio.to_thread(scratch.read, READ_BYTES):
                    await incoming.write(piece)
                yield Packed(front, await incoming.keep(), incoming)
        finally:
            scratch.close()

    def _version(self, packed: Packed, skill_id: str, created_us: int) -> SkillVersionRow:
        return SkillVersionRow(
            id=self._ids("skver"),
            skill_id=skill_id,
            name=packed.front.name,
            description=packed.front.description,
            size_bytes=packed.incoming.size_bytes,
            sha256=packed.sha256,
            created_us=created_us,
        )


def _lay_out(archive: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".skill-", dir=folder.parent))
    try:
        unpack(archive, scratch / "skill")
        _open_to_all(scratch / "skill")
        with contextlib.suppress(OSError):
            (scratch / "skill").rename(folder)  # fails if somebody was faster, which is as good
        if not folder.exists():
            raise FreeholdError(f"The skill could not be laid out in {folder.parent}.")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _open_to_all(folder: Path) -> None:
    """Readable by the users of boxes, whatever the server's umask is."""
    for above, _, names in os.walk(folder):
        os.chmod(above, 0o755)
        for name in names:
            path = os.path.join(above, name)
            os.chmod(path, os.stat(path).st_mode | 0o444)


def _checked_display_name(name: str) -> str:
    if not name.strip() or len(name) > MOST_DISPLAY_NAME_CHARS or not name.isprintable():
        raise InvalidRequest(f"display_name: must be one line of 1 to {MOST_DISPLAY_NAME_CHARS} characters.")
    return name.strip()
