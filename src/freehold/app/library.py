"""Makes what agents are given: files, skills, memory stores, and what keeps them tidy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from freehold.app.ground import Ground
from freehold.errors import Misconfigured
from freehold.library.blobs import Blobs
from freehold.library.exports import Export
from freehold.library.files import Files, FilesSettings
from freehold.library.imports import Import
from freehold.library.memories import Memories
from freehold.library.skills import Skills
from freehold.library.sweeper import Sweeper
from freehold.store.blobs import BlobUsers
from freehold.store.files import FileRows
from freehold.store.memories import MemoryRows
from freehold.store.memory_stores import MemoryStoreRows
from freehold.store.memory_versions import MemoryVersionRows
from freehold.store.restoring import Restoring
from freehold.store.skills import SkillRows


@dataclass(frozen=True, slots=True)
class Library:
    """What agents are given, and what keeps it tidy."""

    files: Files
    skills: Skills
    memories: Memories
    sweeper: Sweeper
    scratch: Callable[[], IO[bytes]]
    """A file without a name on the disk of the data folder."""
    export: Export
    taking: Import

    async def tidy(self) -> None:
        """Forget what is over: expired files, old versions of memories, then blobs that nothing needs."""
        await self.files.forget_expired()
        await self.memories.forget_old_versions()
        await self.sweeper.sweep()


def make_library(ground: Ground) -> Library:
    """The library of this server, on its disk or in its object store."""
    store, clock, ids, settings = ground.store, ground.clock, ground.ids, ground.configuration.section(FilesSettings)
    blobs = _blobs(ground.data / "blobs", settings)
    sweeper = Sweeper(BlobUsers(store), blobs, clock=clock)
    return Library(
        Files(FileRows(store), blobs, sweeper, clock=clock, ids=ids, settings=settings),
        Skills(SkillRows(store), blobs, sweeper, clock=clock, ids=ids),
        Memories(MemoryStoreRows(store), MemoryRows(store, ids=ids), MemoryVersionRows(store), clock=clock, ids=ids),
        sweeper,
        blobs.scratch,
        _export(ground, blobs),
        Import(Restoring(store), blobs, clock=clock),
    )


def _blobs(folder: Path, settings: FilesSettings) -> Blobs:
    if settings.blobs_url is None:
        return Blobs(folder, floor_bytes=settings.disk_floor_bytes)
    try:
        from freehold.library.object_blobs import ObjectBlobs  # an extra: it needs fsspec
    except ImportError as error:
        raise Misconfigured("blobs_url needs the extra `objects`: pip install 'freehold[objects]'") from error
    return ObjectBlobs(folder, settings.blobs_url, floor_bytes=settings.disk_floor_bytes)


def _export(ground: Ground, blobs: Blobs) -> Export:
    store = ground.store
    stores, memories, versions = MemoryStoreRows(store), MemoryRows(store, ids=ground.ids), MemoryVersionRows(store)
    return Export(FileRows(store), SkillRows(store), stores, memories, versions, blobs, clock=ground.clock)
