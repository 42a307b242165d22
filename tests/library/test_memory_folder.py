"""A memory store in a box's folder: both ways, and nothing lost when both sides wrote."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.access.workspaces import Workspaces
from freehold.clock import HandClock
from freehold.errors import NotFound
from freehold.ids import new_id
from freehold.library.memories import Memories
from freehold.library.memory_folder import MemoryFolder, Place, Synced
from freehold.store.engine import Store
from freehold.store.memories import MOST_MEMORIES, Actor, MemoryRows
from freehold.store.memory_stores import MemoryStoreRows
from freehold.store.memory_versions import MemoryVersionRows
from tests.databases import slice_on

CLIENT = Actor("api_actor", "apikey_1")


class Desk:
    """One memory store, and boxes it is mounted in."""

    def __init__(self, memories: Memories, workspace_id: str, store_id: str, root: Path) -> None:
        self.memories = memories
        self.workspace_id = workspace_id
        self.store_id = store_id
        self.root = root

    def box(self, name: str = "box", *, read_only: bool = False) -> tuple[Path, MemoryFolder]:
        folder = self.root / name / "notes"
        place = Place(
            self.workspace_id,
            self.store_id,
            folder,
            self.root / f"{name}.json",
            Actor("session_actor", f"sesn_{name}"),
            read_only=read_only,
        )
        return folder, MemoryFolder(self.memories, place)

    async def put(self, path: str, content: str) -> None:
        found = await self.memories.rows.at(self.workspace_id, self.store_id, path)
        if found is None:
            await self.memories.create(self.workspace_id, self.store_id, path, content, CLIENT)
        else:
            await self.memories.update(self.workspace_id, self.store_id, found.id, actor=CLIENT, content=content)

    async def drop(self, path: str) -> None:
        found = await self.memories.rows.at(self.workspace_id, self.store_id, path)
        assert found is not None
        await self.memories.delete(self.workspace_id, self.store_id, found.id, actor=CLIENT)

    async def held(self) -> dict[str, str]:
        rows = await self.memories.rows.below(
            self.workspace_id, self.store_id, "/", with_content=lambda rows: [row.id for row in rows]
        )
        return {row.path: (row.content or b"").decode() for row in rows}


def on_disk(folder: Path) -> dict[str, str]:
    return {f"/{p.relative_to(folder)}": p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
async def desk(store: Store, tmp_path: Path) -> AsyncIterator[Desk]:
    clock = HandClock()
    workspace = await Workspaces(store, clock=clock).create("one")
    memories = Memories(
        MemoryStoreRows(store), MemoryRows(store, ids=new_id), MemoryVersionRows(store), clock=clock, ids=new_id
    )
    made = await memories.create_store(workspace.id, "Notes", "", {})
    yield Desk(memories, workspace.id, made.id, tmp_path)


async def test_the_first_sync_fills_the_folder_and_later_ones_go_both_ways(desk: Desk) -> None:
    await desk.put("/a", "1")
    await desk.put("/sub/b.md", "2")
    folder, sync = desk.box()
    assert (await sync.sync()).pulled == ["/a", "/sub/b.md"]
    assert on_disk(folder) == {"/a": "1", "/sub/b.md": "2"}

    (folder / "a").write_text("changed in the box")
    (folder / "new").write_text("made in the box")
    (folder / "sub" / "b.md").unlink()
    await desk.put("/c/d", "made elsewhere")
    done = await sync.sync()
    assert (done.pushed, done.pulled) == (["/a", "/new", "/sub/b.md"], ["/c/d"])
    assert (done.conflicts, done.refused) == ({}, {})
    expected = {"/a": "changed in the box", "/new": "made in the box", "/c/d": "made elsewhere"}
    assert await desk.held() == expected == on_disk(folder)
    assert await sync.sync() == Synced(), "nothing is left to do"

    await desk.drop("/c/d")
    await desk.put("/a", "changed elsewhere")
    assert (await sync.sync()).pulled == ["/a", "/c/d"]
    assert on_disk(folder) == {"/a": "changed elsewhere", "/new": "made in the box"}
    assert not (folder / "c").exists()


async def test_what_the_box_writes_is_a_version_of_the_session(desk: Desk) -> None:
    folder, sync = desk.box("one")
    await sync.sync()
    (folder / "a").write_text("1")
    await sync.sync()
    row = await desk.memories.rows.at(desk.workspace_id, desk.store_id, "/a")
    assert row is not None
    version = await desk.memories.versions.get(desk.workspace_id, desk.store_id, row.version_id)
    assert (version.actor_type, version.actor_id) == ("session_actor", "sesn_one")


async def test_two_boxes_that_write_the_same_memory_keep_both_and_say_so(desk: Desk) -> None:
    await desk.put("/plan.md", "0")
    one, first = desk.box("one")
    two, second = desk.box("two")
    await first.sync()
    await second.sync()
    (one / "plan.md").write_text("by one")
    (two / "plan.md").write_text("by two")
    await first.sync()
    done = await second.sync()
    [aside] = done.conflicts.values()
    assert done.conflicts == {"/plan.md": aside} and aside.startswith("/plan.conflict-") and aside.endswith(".md")
    assert await desk.held() == {"/plan.md": "by one", aside: "by two"}
    await first.sync()
    assert on_disk(one) == on_disk(two) == await desk.held()
    assert await second.sync() == await first.sync() == Synced()


async def test_a_memory_deleted_elsewhere_but_changed_in_the_box_is_kept_aside(desk: Desk) -> None:
    await desk.put("/a", "1")
    folder, sync = desk.box()
    await sync.sync()
    (folder / "a").write_text("the only copy")
    await desk.drop("/a")
    done = await sync.sync()
    assert await desk.held() == {done.conflicts["/a"]: "the only copy"} == on_disk(folder)


async def test_a_memory_deleted_in_the_box_but_changed_elsewhere_comes_back(desk: Desk) -> None:
    await desk.put("/a", "1")
    folder, sync = desk.box()
    await sync.sync()
    (folder / "a").unlink()
    await desk.put("/a", "2")
    await sync.sync()
    assert on_disk(folder) == {"/a": "2"}


async def test_a_wiped_folder_is_filled_again_and_deletes_nothing(desk: Desk) -> None:
    await desk.put("/a", "1")
    await desk.put("/b", "2")
    folder, sync = desk.box()
    await sync.sync()
    for file in folder.iterdir():
        file.unlink()
    await sync.sync()
    assert on_disk(folder) == await desk.held() == {"/a": "1", "/b": "2"}


async def test_a_read_only_store_never_takes_anything_from_the_box(desk: Desk) -> None:
    await desk.put("/a", "1")
    folder, sync = desk.box(read_only=True)
    await sync.sync()
    (folder / "a").unlink()
    (folder / "own").write_text("x")
    await sync.sync()
    assert await desk.held() == {"/a": "1"}
    assert on_disk(folder) == {"/a": "1", "/own": "x"}
    assert await sync.sync() == Synced()


async def test_what_cannot_be_a_memory_is_refused_by_name_and_the_rest_goes_on(desk: Desk) -> None:
    folder, sync = desk.box()
    await sync.sync()
    (folder / "big").write_bytes(b"x" * 102_401)
    (folder / "binary").write_bytes(b"\xff\xfe")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "a\u0308").write_text("not in NFC")
    (folder / "fine").write_text("fine")
    done = await sync.sync()
    assert set(done.refused) == {"/big", "/binary", "/link", "/a\u0308"}
    assert await desk.held() == {"/fine": "fine"}


async def test_what_a_box_has_hidden_is_not_taken_for_deleted(desk: Desk) -> None:
    await desk.put("/notes/a", "1")
    await desk.put("/b", "2")
    folder, sync = desk.box()
    await sync.sync()
    (folder / "notes").rename(folder.parent / "elsewhere")
    (folder / "notes").symlink_to(folder.parent / "elsewhere")
    (folder / "b").write_text("3")
    assert set((await sync.sync()).refused) == {"/notes"}
    assert await desk.held() == {"/notes/a": "1", "/b": "3"}
    (folder / "notes").unlink()
    (folder.parent / "elsewhere").rename(folder / "notes")
    assert await sync.sync() == Synced()


@slice_on("sqlite")
async def test_a_box_with_too_many_files_deletes_nothing_by_that(desk: Desk) -> None:
    for number in range(3):
        await desk.put(f"/memory-{number}", "kept")
    folder, sync = desk.box()
    await sync.sync()
    (folder / "memory-0").unlink()
    for number in range(2 * MOST_MEMORIES + 10):
        (folder / f"{number}.bin").write_bytes(b"\xff")
    assert "more than" in (await sync.sync()).refused["/"]
    assert await desk.held() == {f"/memory-{number}": "kept" for number in range(3)}
    for path in folder.glob("*.bin"):
        path.unlink()
    await sync.sync()
    assert set(await desk.held()) == {"/memory-1", "/memory-2"}


async def test_a_memory_of_the_last_sync_that_a_crash_has_torn_is_begun_anew(desk: Desk, tmp_path: Path) -> None:
    await desk.put("/a", "1")
    folder, sync = desk.box()
    await sync.sync()
    (folder / "a").write_text("2")
    (tmp_path / "box.json").write_bytes(b'{"/a": "0')
    done = await sync.sync()
    assert list(done.conflicts) == ["/a"]
    assert sorted((await desk.held()).values()) == ["1", "2"] == sorted(on_disk(folder).values())


async def test_a_crash_before_the_sync_is_remembered_only_repeats_it(desk: Desk, tmp_path: Path) -> None:
    await desk.put("/a", "1")
    folder, sync = desk.box()
    await sync.sync()
    before = (tmp_path / "box.json").read_bytes()
    (folder / "a").write_text("2")
    (folder / "b").write_text("3")
    await sync.sync()
    (tmp_path / "box.json").write_bytes(before)
    assert await sync.sync() == Synced()
    assert await desk.held() == {"/a": "2", "/b": "3"} == on_disk(folder)


async def test_a_store_that_is_gone_is_said(desk: Desk) -> None:
    _, sync = desk.box()
    await desk.memories.stores.delete(desk.workspace_id, desk.store_id)
    with pytest.raises(NotFound):
        await sync.sync()
