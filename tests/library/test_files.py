"""Files beneath HTTP: copies, outputs, sweeps, and memory that stays flat."""

from __future__ import annotations

import asyncio
import io
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.access.workspaces import Workspaces
from freehold.clock import HandClock
from freehold.errors import InvalidRequest, NotFound
from freehold.ids import new_id
from freehold.library.blobs import Blobs
from freehold.library.files import Files, FilesSettings
from freehold.library.sweeper import Sweeper
from freehold.store.blobs import BlobUsers
from freehold.store.engine import Store
from freehold.store.files import FileRow, FileRows
from tests.contract.manifest import shows_difference


class Shelf:
    """Files of two workspaces."""

    def __init__(self, store: Store, folder: Path, one: str, other: str) -> None:
        self.clock = HandClock()
        self.blobs = Blobs(folder, floor_bytes=0)
        self.sweeper = Sweeper(BlobUsers(store), self.blobs, clock=self.clock)
        self.files = Files(
            FileRows(store), self.blobs, self.sweeper, clock=self.clock, ids=new_id, settings=FilesSettings()
        )
        self.one, self.other = one, other

    async def add(self, data: bytes, *, expires_in_s: int | None = None) -> FileRow:
        async with self.files.uploading(self.one) as upload:
            await upload.write(data)
            return await self.files.create(upload, "a.txt", "text/plain", expires_in_s=expires_in_s)


@pytest.fixture
async def shelf(store: Store, tmp_path: Path) -> AsyncIterator[Shelf]:
    spaces = Workspaces(store, clock=HandClock())
    yield Shelf(store, tmp_path / "blobs", (await spaces.create("one")).id, (await spaces.create("other")).id)


async def test_a_copy_in_a_session_outlives_the_file_it_was_made_of(shelf: Shelf) -> None:
    file = await shelf.add(b"data", expires_in_s=3600)
    copy = await shelf.files.copy_for_session(shelf.one, file.id, "sesn_1")
    assert copy.id != file.id
    assert (copy.scope_id, copy.downloadable, copy.expires_us) == ("sesn_1", False, None)
    await shelf.files.delete(shelf.one, file.id)
    await shelf.sweeper.sweep()
    _, path = await shelf.files.open(shelf.one, copy.id)
    assert path.read_bytes() == b"data"
    await shelf.files.forget_session(shelf.one, "sesn_1")
    assert list(shelf.blobs.all()) == []


async def test_a_file_of_another_workspace_or_an_expired_one_cannot_be_copied_or_opened(shelf: Shelf) -> None:
    file = await shelf.add(b"data", expires_in_s=3600)
    for call in (
        shelf.files.copy_for_session(shelf.other, file.id, "sesn_1"),
        shelf.files.open(shelf.other, file.id),
        shelf.files.delete(shelf.other, file.id),
    ):
        with pytest.raises(NotFound):
            await call
    await shelf.clock.advance(3600)
    for expired in (shelf.files.copy_for_session(shelf.one, file.id, "sesn_1"), shelf.files.open(shelf.one, file.id)):
        with pytest.raises(NotFound) as error:
            await expired
        assert error.value.details == {"error_code": "file_expired"}


@shows_difference("outputs-keep-the-newest")
async def test_the_same_output_stays_one_file_and_a_changed_one_replaces_it(shelf: Shelf) -> None:
    first = await shelf.files.register_output(shelf.one, "sesn_1", io.BytesIO(b"v1"), "report.md")
    again = await shelf.files.register_output(shelf.one, "sesn_1", io.BytesIO(b"v1"), "report.md")
    assert again == first
    assert (first.mime_type, first.downloadable) == ("text/markdown", True)
    changed = await shelf.files.register_output(shelf.one, "sesn_1", io.BytesIO(b"v2"), "report.md")
    other = await shelf.files.register_output(shelf.one, "sesn_2", io.BytesIO(b"v1"), "report.md")
    listed = await shelf.files.rows.page(shelf.one, scope_id="sesn_1", after=None, limit=10)
    assert listed == [changed]
    await shelf.sweeper.sweep()
    assert len(list(shelf.blobs.all())) == 2
    assert (await shelf.files.open(shelf.one, other.id))[1].read_bytes() == b"v1"


async def test_an_output_is_not_mistaken_for_a_copy_of_the_same_name(shelf: Shelf) -> None:
    file = await shelf.add(b"input")
    copy = await shelf.files.copy_for_session(shelf.one, file.id, "sesn_1")
    await shelf.files.register_output(shelf.one, "sesn_1", io.BytesIO(b"output"), copy.filename)
    assert (await shelf.files.open(shelf.one, copy.id))[1].read_bytes() == b"input"


async def test_a_name_that_could_lead_elsewhere_is_no_name_for_an_output(shelf: Shelf) -> None:
    for name in ("../x", "a/b", "..", "x\0"):
        with pytest.raises(InvalidRequest):
            await shelf.files.register_output(shelf.one, "sesn_1", io.BytesIO(b""), name)


async def test_sweeps_beside_uploads_of_the_same_bytes_lose_none(shelf: Shelf) -> None:
    kept: list[FileRow] = []

    async def churn() -> None:
        for _ in range(8):
            row = await shelf.add(b"the same")
            if len(kept) < 5:
                kept.append(row)
            else:
                await shelf.files.delete(shelf.one, row.id)

    async def sweep() -> None:
        for _ in range(10):
            await shelf.sweeper.sweep()

    await asyncio.gather(churn(), sweep(), churn(), sweep(), churn())
    assert len(kept) >= 5
    for row in kept:
        assert (await shelf.files.open(shelf.one, row.id))[1].read_bytes() == b"the same"


async def test_an_orphan_blob_goes_with_the_sweep_and_one_in_use_stays(shelf: Shelf) -> None:
    file = await shelf.add(b"used")
    async with shelf.blobs.incoming() as incoming:
        await incoming.write(b"kept by nobody")
        await incoming.keep()
    swept = await shelf.sweeper.sweep()
    assert (swept.blobs, swept.uploads) == (1, 0)
    assert list(shelf.blobs.all()) == [file.sha256]


@pytest.mark.parametrize("megabytes", [48, pytest.param(500, marks=pytest.mark.soak)])
@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_memory_stays_flat_whatever_the_size_of_a_file(shelf: Shelf, megabytes: int) -> None:
    piece = bytes(64 << 10)
    tracemalloc.start()
    try:
        async with shelf.files.uploading(shelf.one) as upload:
            for _ in range(megabytes * 16):
                await upload.write(piece)
            row = await shelf.files.create(upload, "big.bin", None, expires_in_s=None)
        _, path = await shelf.files.open(shelf.one, row.id)
        async for _ in shelf.blobs.chunks(row.sha256):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size == row.size_bytes == megabytes << 20
    assert peak < 8 << 20, f"{peak:,} bytes at the peak"
