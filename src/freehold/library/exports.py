"""The library of a workspace as one tar that a person can read, to keep, to move, and to test upgrades with.

    freehold-library.json                            {"format": 1, "exported_at": …}
    files/{id}/file.json                             what is known of the file
    files/{id}/content                               its bytes; missing when they have expired
    skills/{id}/skill.json
    skills/{id}/{version id}/version.json
    skills/{id}/{version id}/content/SKILL.md …      its files, executable as they are
    memory_stores/{id}/store.json
    memory_stores/{id}/memories/{path}               the memories as they are now
    memory_stores/{id}/memories.json                 which of them is which
    memory_stores/{id}/history.jsonl                 every version, newest first

Ids and times are kept. Files of sessions (copies and outputs) belong to their sessions and are left out.
"""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from freehold.clock import Clock, rfc3339
from freehold.errors import NotFound
from freehold.library.blobs import Blobs
from freehold.library.bundles import unpack
from freehold.store.files import FileRow, FileRows
from freehold.store.memories import MemoryRows
from freehold.store.memory_stores import MemoryStoreRow, MemoryStoreRows
from freehold.store.memory_versions import MemoryVersionRow, MemoryVersionRows, VersionFilter
from freehold.store.skills import SkillRow, SkillRows, SkillVersionRow

R = TypeVar("R")
FORMAT = 1
HEAD = "freehold-library.json"
_PAGE = 200


class Export:
    """Writes out the library of a workspace; changes nothing."""

    def __init__(
        self,
        files: FileRows,
        skills: SkillRows,
        stores: MemoryStoreRows,
        memories: MemoryRows,
        versions: MemoryVersionRows,
        blobs: Blobs,
        *,
        clock: Clock,
    ) -> None:
        self._files = files
        self._skills = skills
        self._stores = stores
        self._memories = memories
        self._versions = versions
        self._blobs = blobs
        self._clock = clock

    async def write(self, workspace_id: str, target: IO[bytes]) -> None:
        """Write the tar to `target`, which need not be seekable. Memory stays flat; one blob is open at a time."""
        with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            out = _Out(tar)
            await out.json(HEAD, {"format": FORMAT, "exported_at": rfc3339(self._clock.now_us())})
            async for file in _all(
                lambda after: self._files.page(workspace_id, scope_id=None, after=after, limit=_PAGE)
            ):
                if file.scope_id is None:
                    await self._file(out, file)
            async for skill in _all(lambda after: self._skills.page(workspace_id, after=after, limit=_PAGE)):
                await self._skill(out, workspace_id, skill)
            async for store in _all(lambda after: self._page_of_stores(workspace_id, after)):
                await self._store(out, workspace_id, store)

    async def _file(self, out: _Out, row: FileRow) -> None:
        await out.json(f"files/{row.id}/file.json", _without(asdict(row), "workspace_id", "scope_id"))
        if not row.expired(self._clock.now_us()):
            await out.path(f"files/{row.id}/content", await self._blobs.local(row.sha256))

    async def _skill(self, out: _Out, workspace_id: str, skill: SkillRow) -> None:
        await out.json(f"skills/{skill.id}/skill.json", _without(asdict(skill), "workspace_id"))
        async for version in _all(
            lambda after: self._skills.versions(workspace_id, skill.id, after=after, limit=_PAGE)
        ):
            await self._skill_version(out, version)

    async def _skill_version(self, out: _Out, version: SkillVersionRow) -> None:
        folder = f"skills/{version.skill_id}/{version.id}"
        await out.json(f"{folder}/version.json", _without(asdict(version), "sha256", "size_bytes"))
        with tempfile.TemporaryDirectory() as scratch:
            laid = Path(scratch) / "content"
            await asyncio.to_thread(unpack, await self._blobs.local(version.sha256), laid)
            for path in sorted(laid.rglob("*")):
                if path.is_file():
                    await out.path(f"{folder}/content/{path.relative_to(laid)}", path)

    async def _page_of_stores(self, workspace_id: str, after: Sequence[Any] | None) -> list[MemoryStoreRow]:
        return await self._stores.page(
            workspace_id, created_gte_us=None, created_lte_us=None, include_archived=True, after=after, limit=_PAGE
        )

    async def _store(self, out: _Out, workspace_id: str, store: MemoryStoreRow) -> None:
        folder = f"memory_stores/{store.id}"
        await out.json(f"{folder}/store.json", _without(asdict(store), "workspace_id"))
        present = []
        for row in await self._memories.below(workspace_id, store.id, "/"):
            try:
                whole = await self._memories.get(workspace_id, store.id, row.id)
            except NotFound:
                continue  # deleted while we were at the others
            present.append(_without(asdict(whole), "content", "store_id", "size_bytes"))
            await out.data(f"{folder}/memories{whole.path}", whole.content or b"")
        await out.json(f"{folder}/memories.json", present)
        await self._history(out, workspace_id, store.id)

    async def _history(self, out: _Out, workspace_id: str, store_id: str) -> None:
        def page(after: Sequence[Any] | None) -> Awaitable[list[MemoryVersionRow]]:
            return self._versions.page(workspace_id, store_id, VersionFilter(), content=True, after=after, limit=_PAGE)

        with tempfile.TemporaryFile() as scratch:
            async for version in _all(page):
                text = None if version.content is None else version.content.decode("utf-8")
                line = {**_without(asdict(version), "store_id", "size_bytes"), "content": text}
                scratch.write(msgspec.json.encode(line) + b"\n")
            await out.file(f"memory_stores/{store_id}/history.jsonl", scratch)


class _Out:
    """A tar being written, member by member, off the event loop."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    async def json(self, name: str, value: object) -> None:
        await self.data(name, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")

    async def data(self, name: str, data: bytes) -> None:
        await self.file(name, io.BytesIO(data))

    async def path(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            await self.file(name, file, mode=os.fstat(file.fileno()).st_mode & 0o755)

    async def file(self, name: str, file: IO[bytes], *, mode: int = 0o644) -> None:
        info = tarfile.TarInfo(name)
        info.size = file.seek(0, io.SEEK_END)
        info.mode = mode
        file.seek(0)
        await asyncio.to_thread(self._tar.addfile, info, file)


async def _all(page: Callable[[Sequence[Any] | None], Awaitable[list[R]]]) -> AsyncIterator[R]:
    """Every row of a list that comes in pages by time of making and id."""
    after: Sequence[Any] | None = None
    while True:
        rows = await page(after)
        for row in rows[:_PAGE]:
            yield row
        if len(rows) <= _PAGE:
            return
        last: Any = rows[_PAGE - 1]
        after = (last.created_us, last.id)


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
