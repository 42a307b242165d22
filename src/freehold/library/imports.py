"""Takes the tar of an `Export` back in, with its ids and times, into any workspace of a server that has none of them.

What it holds is checked as if a stranger had sent it: sizes, names, the rules of skills and of memories.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import tarfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any, TypeVar

import msgspec

from freehold.clock import Clock
from freehold.errors import InvalidRequest
from freehold.library.blobs import READ_BYTES, Blobs, Incoming
from freehold.library.bundles import Front, Source, pack
from freehold.library.exports import FORMAT, HEAD
from freehold.library.files import FILE_LIMIT_BYTES
from freehold.library.memories import MOST_CONTENT_BYTES, checked_description, checked_name
from freehold.library.memory_paths import checked_path
from freehold.library.names import checked_name as checked_file_name
from freehold.store.files import FileRow
from freehold.store.memories import MOST_MEMORIES, MemoryRow
from freehold.store.memory_stores import MemoryStoreRow
from freehold.store.memory_versions import MemoryVersionRow
from freehold.store.restoring import Restoring
from freehold.store.skills import SkillRow, SkillVersionRow

T = TypeVar("T")
MOST_MEMBERS = 200_000
_MOST_JSON_BYTES = 64 << 20
_ID = re.compile(r"[a-z]{2,12}_[0-9A-Za-z_-]{1,48}")


@dataclass(frozen=True, slots=True)
class Imported:
    """How many of each were taken in."""

    files: int
    skills: int
    memory_stores: int


class Import:
    """Reads exports. Each file, skill and store comes in whole or not at all; those before a bad one stay."""

    def __init__(self, restoring: Restoring, blobs: Blobs, *, clock: Clock) -> None:
        self._restoring = restoring
        self._blobs = blobs
        self._clock = clock

    async def read(self, workspace_id: str, source: IO[bytes]) -> Imported:
        """Take in a tar from a seekable file.

        Raises:
            InvalidRequest: it is no export, or something in it may not be; names the member.
            Conflict: an id is already on this server.
        """
        with _opened(source) as tar:
            members = await asyncio.to_thread(_Members.read, tar)
            if members.json(HEAD).get("format") != FORMAT:
                raise InvalidRequest(f"{HEAD}: this server reads exports of format {FORMAT} only.")
            return Imported(
                await self._each(self._file, workspace_id, members, members.ids("files", "file.json")),
                await self._each(self._skill, workspace_id, members, members.ids("skills", "skill.json")),
                await self._each(self._store, workspace_id, members, members.ids("memory_stores", "store.json")),
            )

    async def _each(
        self,
        take: Callable[[str, _Members, str], Awaitable[None]],
        workspace_id: str,
        members: _Members,
        ids: Sequence[str],
    ) -> int:
        for one in ids:
            await take(workspace_id, members, one)
        return len(ids)

    async def _file(self, workspace_id: str, members: _Members, file_id: str) -> None:
        place = f"files/{file_id}/file.json"
        known = {**members.json(place), "id": file_id, "workspace_id": workspace_id, "scope_id": None}
        row = _made(FileRow, known, place)
        checked_file_name(row.filename)
        content = f"files/{file_id}/content"
        if content not in members.names:
            if not row.expired(self._clock.now_us()):
                raise InvalidRequest(f"{content}: is missing.")
            await self._restoring.file(row, ensure_blob=lambda: None)
            return
        async with self._blobs.incoming() as incoming:
            sha256 = await _copied(members.open(content, FILE_LIMIT_BYTES), incoming)
            if (sha256, incoming.size_bytes) != (row.sha256, row.size_bytes):
                raise InvalidRequest(f"{content}: is not what {place} says.")
            await self._restoring.file(row, ensure_blob=lambda: incoming.ensure(sha256))

    async def _skill(self, workspace_id: str, members: _Members, skill_id: str) -> None:
        place = f"skills/{skill_id}/skill.json"
        skill = _made(SkillRow, {**members.json(place), "id": skill_id, "workspace_id": workspace_id}, place)
        async with AsyncExitStack() as stack:
            blobs: list[tuple[Incoming, str]] = []
            versions = []
            for version_id in members.ids(f"skills/{skill_id}", "version.json"):
                incoming = await stack.enter_async_context(self._blobs.incoming())
                version = await self._skill_version(members, skill, version_id, incoming)
                versions.append(version)
                blobs.append((incoming, version.sha256))
            if skill.latest_version_id not in {version.id for version in versions}:
                raise InvalidRequest(f"{place}: its latest version {skill.latest_version_id!r} is missing.")

            def ensure() -> None:
                for incoming, sha256 in blobs:
                    incoming.ensure(sha256)

            await self._restoring.skill(skill, versions, ensure_blobs=ensure)

    async def _skill_version(
        self, members: _Members, skill: SkillRow, version_id: str, incoming: Incoming
    ) -> SkillVersionRow:
        folder = f"skills/{skill.id}/{version_id}"
        with self._blobs.scratch() as scratch:
            front = await asyncio.to_thread(_packed, members, f"{folder}/content/", scratch)
            scratch.seek(0)
            sha256 = await _copied(scratch, incoming)
        if front.name != skill.name:
            raise InvalidRequest(f"{folder}: SKILL.md has the name {front.name!r}, the skill is {skill.name!r}.")
        known = {
            **members.json(f"{folder}/version.json"),
            "id": version_id,
            "skill_id": skill.id,
            "name": front.name,
            "description": front.description,
            "sha256": sha256,
            "size_bytes": incoming.size_bytes,
        }
        return _made(SkillVersionRow, known, f"{folder}/version.json")

    async def _store(self, workspace_id: str, members: _Members, store_id: str) -> None:
        folder = f"memory_stores/{store_id}"
        known = {**members.json(f"{folder}/store.json"), "id": store_id, "workspace_id": workspace_id}
        store = _made(MemoryStoreRow, known, f"{folder}/store.json")
        checked_name(store.name)
        checked_description(store.description)
        listed = members.value(f"{folder}/memories.json", list[dict[str, Any]])
        if len(listed) > MOST_MEMORIES:
            raise InvalidRequest(f"{folder}/memories.json: more than {MOST_MEMORIES:,} memories.")
        present = [_memory(members, folder, store_id, known) for known in listed]
        history = [_version(line, folder, store_id) for line in members.lines(f"{folder}/history.jsonl")]
        await self._restoring.memory_store(store, present, history)


class _Members:
    """The members of a tar by name: plain files only."""

    def __init__(self, tar: tarfile.TarFile, names: Mapping[str, tarfile.TarInfo]) -> None:
        self._tar = tar
        self.names = names

    @classmethod
    def read(cls, tar: tarfile.TarFile) -> _Members:
        names: dict[str, tarfile.TarInfo] = {}
        for info in tar:
            if not info.isreg():
                raise InvalidRequest(f"{info.name[:200]!r}: only plain files are taken.")
            names[info.name] = info
            if len(names) > MOST_MEMBERS:
                raise InvalidRequest(f"The tar has more than {MOST_MEMBERS:,} members.")
        return cls(tar, names)

    def ids(self, folder: str, marker: str) -> list[str]:
        """The `{id}` of every `folder/{id}/marker`."""
        parts = [name.split("/") for name in self.names if name.startswith(f"{folder}/")]
        depth = folder.count("/") + 1
        found = [part[depth] for part in parts if len(part) == depth + 2 and part[-1] == marker]
        for one in found:
            if not _ID.fullmatch(one):
                raise InvalidRequest(f"{folder}: {one[:80]!r} is no id.")
        return found

    def below(self, folder: str) -> list[str]:
        return [name for name in self.names if name.startswith(folder)]

    def executable(self, name: str) -> bool:
        return bool(self.names[name].mode & 0o111)

    def open(self, name: str, most_bytes: int) -> IO[bytes]:
        info = self.names.get(name)
        if info is None:
            raise InvalidRequest(f"{name}: is missing.")
        if info.size > most_bytes:
            raise InvalidRequest(f"{name}: larger than {most_bytes:,} bytes.")
        file = self._tar.extractfile(info)
        assert file is not None, "it is a plain file"
        return file

    def value(self, name: str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(self.open(name, _MOST_JSON_BYTES).read(), type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"{name}: {error}") from error

    def json(self, name: str) -> dict[str, Any]:
        return self.value(name, dict[str, Any])

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        for line in self.open(name, 1 << 40):
            try:
                yield msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise InvalidRequest(f"{name}: {error}") from error


@contextmanager
def _opened(source: IO[bytes]) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(fileobj=source, mode="r:") as tar:
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise InvalidRequest(f"The tar cannot be read: {error}") from error


def _packed(members: _Members, folder: str, target: IO[bytes]) -> Front:
    def source(name: str) -> Source:
        return Source(
            name.removeprefix(folder),
            members.executable(name),
            lambda: contextlib.closing(members.open(name, FILE_LIMIT_BYTES)),
        )

    return pack([source(name) for name in members.below(folder)], target)


async def _copied(source: IO[bytes], incoming: Incoming) -> str:
    while piece := await asyncio.to_thread(source.read, READ_BYTES):
        await incoming.write(piece)
    return await incoming.keep()


def _memory(members: _Members, folder: str, store_id: str, known: Mapping[str, Any]) -> MemoryRow:
    path = checked_path(str(known.get("path", "")))
    content = members.open(f"{folder}/memories{path}", MOST_CONTENT_BYTES).read()
    row = _made(
        MemoryRow,
        {**known, "store_id": store_id, "content": None, "size_bytes": len(content)},
        f"{folder}/memories.json",
    )
    return _with_content(row, content, f"{folder}/memories{path}")


def _version(known: Mapping[str, Any], folder: str, store_id: str) -> MemoryVersionRow:
    text = known.get("content")
    content = text.encode("utf-8") if isinstance(text, str) else None
    place = f"{folder}/history.jsonl"
    row = _made(MemoryVersionRow, {**known, "store_id": store_id, "content": None, "size_bytes": None}, place)
    return row if content is None else _with_content(row, content, place)


R = TypeVar("R", MemoryRow, MemoryVersionRow)


def _with_content(row: R, content: bytes, place: str) -> R:
    if hashlib.sha256(content).hexdigest() != row.content_sha256 or len(content) > MOST_CONTENT_BYTES:
        raise InvalidRequest(f"{place}: the content of {row.id} is too large, or not what its SHA-256 says.")
    return replace(row, content=content)


def _made(kind: type[T], known: Mapping[str, Any], place: str) -> T:
    try:
        return msgspec.convert(known, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{place}: {error}") from error
