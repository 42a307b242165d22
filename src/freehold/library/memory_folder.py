"""A memory store as a folder in a box, brought up to date in both directions.

For each path three states are compared: how it was at the last sync, in the folder, and in the store. What changed on
one side goes to the other. What changed on both is a conflict: the store's version stays at the path, the folder's is
kept beside it under a name that says so, and the caller hears of it, so that nothing is lost and nothing silent. What
was at the last sync is remembered in a file of the caller's, outside the box, so a crash in between only repeats.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from freehold.errors import FreeholdError
from freehold.library.memories import MOST_CONTENT_BYTES, Memories
from freehold.library.memory_paths import MOST_SEGMENTS
from freehold.library.tree import Tree, may_hold
from freehold.store.memories import MOST_MEMORIES, Actor, MemoryRow


@dataclass(slots=True)
class Synced:
    """What a sync did, by path (`/notes/a.md`), and what it could not do, with the reason."""

    pushed: list[str] = field(default_factory=list)
    pulled: list[str] = field(default_factory=list)
    conflicts: dict[str, str] = field(default_factory=dict)
    """Path → the path under which the folder's version is kept."""
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is mounted: the folder, the file that remembers the last sync, and who writes."""

    workspace_id: str
    store_id: str
    folder: Path
    state: Path
    actor: Actor
    read_only: bool = False
    owner: tuple[int, int] | None = None


class MemoryFolder:
    """One store in one folder. Not for several syncs at once."""

    def __init__(self, memories: Memories, place: Place) -> None:
        self._memories = memories
        self._place = place
        self._tree = Tree(place.folder, owner=place.owner)

    async def sync(self) -> Synced:
        """Bring folder and store together, best while no tool runs. The first sync makes and fills the folder.

        A folder whose two or more files are all gone at once was wiped, not tidied: it is filled again. What may be
        there and cannot be seen (below a link, among too many files) stays as it is on both sides.
        Never raises for one memory: that stands in `refused`. Raises `NotFound` when the store is gone, and `OSError`
        when something else stands where the folder should be.
        """
        done = Synced()
        base = await asyncio.to_thread(self._remembered)
        local = await asyncio.to_thread(self._local, done)
        if not local and not done.refused and len(base) > 1:
            base = {}
        remote = {row.path: row for row in await self._rows()}
        unread = {path[1:] for path in done.refused}
        for path in sorted({*base, *local, *remote}):
            if path not in done.refused and (path in local or not may_hold(unread, path[1:])):
                await self._path(path, base, local, remote, done)
        await asyncio.to_thread(self._remember, base)
        return done

    async def _path(
        self,
        path: str,
        base: dict[str, str],
        local: Mapping[str, bytes],
        remote: Mapping[str, MemoryRow],
        done: Synced,
    ) -> None:
        before, there = base.get(path), remote.get(path)
        here = _sha256(local[path]) if path in local else None
        theirs = None if there is None else there.content_sha256
        try:
            if here == theirs:
                _settle(base, path, here)
            elif self._place.read_only and theirs is None and before is None:
                return  # a file of the box's own; nobody wants it
            elif theirs == before and not self._place.read_only:
                await self._push(path, local.get(path), there)
                done.pushed.append(path)
                _settle(base, path, here)
            else:
                if here not in (before, None):
                    await self._keep_both(path, local[path], base, done)
                await self._pull(path, there)
                done.pulled.append(path)
                _settle(base, path, theirs)
        except FreeholdError as error:
            done.refused[path] = error.message
        except OSError as error:
            done.refused[path] = f"the folder does not take it: {error.strerror}"

    async def _push(self, path: str, data: bytes | None, there: MemoryRow | None) -> None:
        place = self._place
        if data is None:
            if there is not None:
                await self._memories.delete(
                    place.workspace_id,
                    place.store_id,
                    there.id,
                    actor=place.actor,
                    expected_sha256=there.content_sha256,
                )
        elif there is None:
            text = data.decode("utf-8")
            await self._memories.create(place.workspace_id, place.store_id, path, text, place.actor)
        else:
            await self._memories.update(
                place.workspace_id,
                place.store_id,
                there.id,
                actor=place.actor,
                content=data.decode("utf-8"),
                expected_sha256=there.content_sha256,
            )

    async def _keep_both(self, path: str, data: bytes, base: dict[str, str], done: Synced) -> None:
        aside = _aside(path, data)
        await asyncio.to_thread(self._tree.write, aside[1:], data)
        done.conflicts[path] = aside
        if not self._place.read_only:
            await self._push(aside, data, None)
            base[aside] = _sha256(data)

    async def _pull(self, path: str, there: MemoryRow | None) -> None:
        if there is None:
            await asyncio.to_thread(self._tree.remove, path[1:])
            return
        place = self._place
        row = await self._memories.rows.get(place.workspace_id, place.store_id, there.id)
        await asyncio.to_thread(self._tree.write, path[1:], row.content or b"")

    async def _rows(self) -> Sequence[MemoryRow]:
        return await self._memories.rows.below(self._place.workspace_id, self._place.store_id, "/")

    def _local(self, done: Synced) -> dict[str, bytes]:
        self._tree.make()
        found: dict[str, bytes] = {}
        for file in self._tree.files(
            most_files=2 * MOST_MEMORIES, most_bytes=MOST_CONTENT_BYTES, most_depth=MOST_SEGMENTS
        ):
            path = "/" + file.path
            if file.data is None:
                done.refused[path] = file.problem or "it cannot be read"
            elif not _is_text(file.data):
                done.refused[path] = "it is not UTF-8 text"
            else:
                found[path] = file.data
        return found

    def _remembered(self) -> dict[str, str]:
        """Nothing, where there was no sync, or a crash took what it wrote: then what differs is kept twice."""
        try:
            return msgspec.json.decode(self._place.state.read_bytes(), type=dict[str, str])
        except (FileNotFoundError, msgspec.MsgspecError):
            return {}

    def _remember(self, base: Mapping[str, str]) -> None:
        scratch = self._place.state.with_suffix(".tmp")
        scratch.write_bytes(msgspec.json.encode(base))
        os.replace(scratch, self._place.state)


def _settle(base: dict[str, str], path: str, digest: str | None) -> None:
    if digest is None:
        base.pop(path, None)
    else:
        base[path] = digest


def _aside(path: str, data: bytes) -> str:
    folder, _, name = path.rpartition("/")
    stem, dot, ending = name.rpartition(".")
    mark = f"conflict-{_sha256(data)[:8]}"
    return f"{folder}/{stem}.{mark}.{ending}" if dot and stem else f"{folder}/{name}.{mark}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
