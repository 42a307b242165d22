"""Memory stores, memories and their versions through the official SDK in strict mode."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import BadRequestError, ConflictError, NotFoundError
from anthropic.lib.tools._memories import SessionMemoryStores

from freehold.agents.mounts import memory_paths
from freehold.store.engine import Store
from freehold.store.memories import MOST_MEMORIES, Actor
from tests.api.house import House, open_house
from tests.contract.manifest import proves, shows_difference


@pytest.fixture
async def house(store: Store, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(store, tmp_path) as house:
        yield house


async def a_store(house: House, **memories: str) -> str:
    """The id of a store with these memories, each at `/name`; `__` in a name is a slash."""
    store = await house.client().beta.memory_stores.create(name="Notes")
    for name, content in memories.items():
        path = "/" + name.replace("__", "/")
        await house.client().beta.memory_stores.memories.create(store.id, path=path, content=content)
    return store.id


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@proves("beta.memory_stores.create", "beta.memory_stores.retrieve", "beta.memory_stores.update")
@shows_difference("memory-betas-go-together")
async def test_a_store_is_made_and_changed_field_by_field(house: House) -> None:
    stores = house.client().beta.memory_stores
    made = await stores.create(name="User Preferences", description="What they like.", metadata={"a": "1", "b": "2"})
    assert made.id.startswith("memstore_") and made.type == "memory_store" and made.archived_at is None
    assert await stores.retrieve(made.id) == made
    await house.clock.advance(1)
    changed = await stores.update(made.id, description="", metadata={"a": None, "c": "3"})
    assert (changed.name, changed.description, changed.metadata) == ("User Preferences", "", {"b": "2", "c": "3"})
    assert changed.updated_at > made.updated_at
    assert (await stores.update(made.id, name="Other")).name == "Other"
    assert (await house.client().beta.memory_stores.create(name="bare")).description == ""
    both = await stores.create(name="both", betas=["managed-agents-2026-04-01"])
    async with house.http() as plain:
        assert (await plain.get(f"/v1/memory_stores/{both.id}")).status_code == 200, "without any beta header"


@proves("beta.memory_stores.list", "beta.memory_stores.archive", "beta.memory_stores.delete")
async def test_stores_are_listed_archived_and_deleted(house: House) -> None:
    stores = house.client().beta.memory_stores
    made = []
    for n in range(4):
        made.append(await stores.create(name=f"s{n}"))
        await house.clock.advance(10)
    archived = await stores.archive(made[1].id)
    assert archived.archived_at is not None
    assert (await stores.archive(made[1].id)).archived_at == archived.archived_at
    assert [store.name async for store in stores.list(limit=2)] == ["s3", "s2", "s0"]
    assert [store.name async for store in stores.list(include_archived=True)] == ["s3", "s2", "s1", "s0"]
    assert [store.name async for store in stores.list(created_at_gte=made[3].created_at)] == ["s3"]
    assert [store.name async for store in stores.list(created_at_lte=made[0].created_at)] == ["s0"]
    deleted = await stores.delete(made[0].id)
    assert (deleted.id, deleted.type) == (made[0].id, "memory_store_deleted")
    with pytest.raises(NotFoundError):
        await stores.retrieve(made[0].id)


@proves("beta.memory_stores.memories.create", "beta.memory_stores.memories.retrieve")
async def test_a_memory_is_what_was_written_byte_for_byte(house: House) -> None:
    store_id = await a_store(house)
    memories = house.client().beta.memory_stores.memories
    text = "Grüße 你好 \0 \r\n"
    made = await memories.create(store_id, path="/a/ä 你.md", content=text)
    assert made.id.startswith("mem_") and made.memory_version_id.startswith("memver_")
    assert (made.path, made.content, made.content_sha256) == ("/a/ä 你.md", None, sha(text))
    assert made.content_size_bytes == len(text.encode())
    assert (await memories.retrieve(made.id, memory_store_id=store_id)).content == text
    assert (await memories.retrieve(made.id, memory_store_id=store_id, view="basic")) == made
    full = await memories.create(store_id, path="/empty", content="", view="full")
    assert (full.content, full.content_size_bytes) == ("", 0)


@shows_difference("memories-are-a-tree")
async def test_a_create_never_overwrites_and_names_who_is_there(house: House) -> None:
    store_id = await a_store(house)
    memories = house.client().beta.memory_stores.memories
    there = await memories.create(store_id, path="/notes/a", content="1")
    for path in ("/notes/a", "/notes", "/notes/a/b"):
        with pytest.raises(ConflictError) as error:
            await memories.create(store_id, path=path, content="2")
        assert error.value.response.headers["x-should-retry"] == "false"
        inner = error.value.response.json()["error"]
        assert inner["type"] == "memory_path_conflict_error"
        assert (inner["conflicting_memory_id"], inner["conflicting_path"]) == (there.id, "/notes/a")
    await memories.create(store_id, path="/notes/ab", content="3")
    await memories.create(store_id, path="/Notes", content="paths are case-sensitive")


@proves("beta.memory_stores.memories.update")
async def test_an_update_changes_content_path_or_both_under_its_precondition(house: House) -> None:
    store_id = await a_store(house, other="x")
    memories = house.client().beta.memory_stores.memories
    made = await memories.create(store_id, path="/a", content="one")
    await house.clock.advance(1)
    changed = await memories.update(
        made.id,
        memory_store_id=store_id,
        content="two",
        precondition={"type": "content_sha256", "content_sha256": sha("one")},
    )
    assert changed.id == made.id and changed.memory_version_id != made.memory_version_id
    assert changed.updated_at > made.updated_at == changed.created_at
    renamed = await memories.update(made.id, memory_store_id=store_id, path="/b", view="full")
    assert (renamed.path, renamed.content) == ("/b", "two")
    with pytest.raises(ConflictError) as error:
        await memories.update(
            made.id,
            memory_store_id=store_id,
            content="three",
            precondition={"type": "content_sha256", "content_sha256": sha("one")},
        )
    assert error.value.response.json()["error"]["type"] == "memory_precondition_failed_error"
    assert error.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(ConflictError) as taken:
        await memories.update(made.id, memory_store_id=store_id, path="/other")
    assert taken.value.response.json()["error"]["type"] == "memory_path_conflict_error"
    assert (await memories.retrieve(made.id, memory_store_id=store_id)).path == "/b"


async def test_an_update_that_changes_nothing_makes_no_version(house: House) -> None:
    store_id = await a_store(house)
    client = house.client().beta.memory_stores
    made = await client.memories.create(store_id, path="/a", content="one")
    same = await client.memories.update(made.id, memory_store_id=store_id, content="one", path="/a")
    assert same == made
    assert len((await client.memory_versions.list(store_id)).data) == 1


async def test_of_many_writers_with_the_same_precondition_one_wins(house: House) -> None:
    store_id = await a_store(house)
    client = house.client().beta.memory_stores
    made = await client.memories.create(store_id, path="/a", content="0")
    outcomes = await asyncio.gather(
        *(
            client.memories.update(
                made.id,
                memory_store_id=store_id,
                content=f"writer {n}",
                precondition={"type": "content_sha256", "content_sha256": sha("0")},
            )
            for n in range(8)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 7
    assert len((await client.memory_versions.list(store_id)).data) == 2


@proves("beta.memory_stores.memories.delete")
async def test_a_delete_takes_effect_only_on_the_content_it_expects(house: House) -> None:
    store_id = await a_store(house)
    memories = house.client().beta.memory_stores.memories
    made = await memories.create(store_id, path="/a", content="one")
    with pytest.raises(ConflictError):
        await memories.delete(made.id, memory_store_id=store_id, expected_content_sha256=sha("two"))
    with pytest.raises(BadRequestError):
        await memories.delete(made.id, memory_store_id=store_id, expected_content_sha256="short")
    gone = await memories.delete(made.id, memory_store_id=store_id, expected_content_sha256=sha("one"))
    assert (gone.id, gone.type) == (made.id, "memory_deleted")
    with pytest.raises(NotFoundError):
        await memories.retrieve(made.id, memory_store_id=store_id)
    again = await memories.create(store_id, path="/a", content="new life")
    assert again.id != made.id


@proves("beta.memory_stores.memories.list")
async def test_a_listing_goes_by_path_depth_and_prefix(house: House) -> None:
    store_id = await a_store(house, a="1", notes__x="2", notes__y__z="3", notesarchive="4", b="5")
    memories = house.client().beta.memory_stores.memories

    async def paths(**query: Any) -> list[str]:
        return [item.path async for item in memories.list(store_id, **query)]

    everything = ["/a", "/b", "/notes/x", "/notes/y/z", "/notesarchive"]
    assert await paths() == await paths(limit=2) == await paths(limit=1, depth=0) == everything
    assert await paths(depth=1) == await paths(depth=1, limit=1) == ["/a", "/b", "/notes/", "/notesarchive"]
    assert await paths(path_prefix="/notes/") == ["/notes/x", "/notes/y/z"]
    assert await paths(path_prefix="/notes/", depth=1, limit=1) == ["/notes/x", "/notes/y/"]
    items = (await memories.list(store_id, depth=1)).data
    assert [item.type for item in items] == ["memory", "memory", "memory_prefix", "memory"]
    full = [item async for item in memories.list(store_id, view="full", limit=100)]
    assert [item.content for item in full if item.type == "memory"] == ["1", "5", "2", "3", "4"]
    for wrong in ({"depth": 2}, {"path_prefix": "/notes"}, {"path_prefix": "notes/"}, {"path_prefix": "/../"}):
        with pytest.raises(BadRequestError):
            await paths(**wrong)


async def test_a_page_with_contents_holds_at_most_twenty(house: House) -> None:
    store_id = await a_store(house, **{f"m{n:02}": str(n) for n in range(25)})
    memories = house.client().beta.memory_stores.memories
    page = await memories.list(store_id, view="full", limit=100)
    assert (len(page.data), page.next_page is None) == (20, False)
    assert len([item async for item in memories.list(store_id, view="full")]) == 25
    assert len((await memories.list(store_id, limit=100)).data) == 25


@proves("beta.memory_stores.memory_versions.list", "beta.memory_stores.memory_versions.retrieve")
async def test_every_change_is_a_version_that_tells_who_made_it(house: House) -> None:
    store_id = await a_store(house)
    client = house.client().beta.memory_stores
    made = await client.memories.create(store_id, path="/a", content="one")
    await house.clock.advance(1)
    changed = await client.memories.update(made.id, memory_store_id=store_id, content="two")
    await house.clock.advance(1)
    actor = Actor("session_actor", "sesn_1")
    await house.memories.update(house.one, store_id, made.id, actor=actor, path="/b")
    await house.clock.advance(1)
    await client.memories.delete(made.id, memory_store_id=store_id)

    versions = [version async for version in client.memory_versions.list(store_id, limit=3)]
    assert [version.operation for version in versions] == ["deleted", "modified", "modified", "created"]
    assert [version.path for version in versions] == ["/b", "/b", "/a", "/a"]
    assert [version.content_sha256 for version in versions] == [None, sha("two"), sha("two"), sha("one")]
    assert {version.content for version in versions} == {None}
    whole = await client.memory_versions.retrieve(changed.memory_version_id, memory_store_id=store_id)
    assert (whole.content, whole.id, whole.memory_id) == ("two", changed.memory_version_id, made.id)
    by = [version.created_by for version in versions]
    assert by[1] is not None and by[1].type == "session_actor" and by[1].session_id == "sesn_1"
    assert by[0] is not None and by[0].type == "api_actor"

    async def count(**query: Any) -> int:
        return len([version async for version in client.memory_versions.list(store_id, **query)])

    assert await count(operation="modified") == 2
    assert await count(memory_id=made.id) == 4 and await count(memory_id="mem_other") == 0
    assert await count(session_id="sesn_1") == 1 and await count(api_key_id=by[0].api_key_id) == 3
    assert await count(service_account_id="svac_1") == 0
    assert await count(created_at_gte=versions[1].created_at, created_at_lte=versions[2].created_at) == 0
    assert await count(created_at_gte=versions[2].created_at) == 3
    assert await count(view="full") == 4


@proves("beta.memory_stores.memory_versions.redact")
@shows_difference("present-versions-are-not-redacted")
async def test_an_old_version_is_redacted_for_good_and_the_present_one_never(house: House) -> None:
    store_id = await a_store(house)
    client = house.client().beta.memory_stores
    made = await client.memories.create(store_id, path="/a", content="a secret")
    with pytest.raises(BadRequestError) as error:
        await client.memory_versions.redact(made.memory_version_id, memory_store_id=store_id)
    assert made.id in error.value.message
    await client.memories.update(made.id, memory_store_id=store_id, content="nothing")
    redacted = await client.memory_versions.redact(made.memory_version_id, memory_store_id=store_id)
    assert redacted.redacted_at is not None and redacted.redacted_by is not None
    assert redacted.redacted_by.type == "api_actor"
    gone = (redacted.content, redacted.path, redacted.content_sha256, redacted.content_size_bytes)
    assert gone == (None, None, None, None)
    await house.clock.advance(5)
    again = await client.memory_versions.redact(made.memory_version_id, memory_store_id=store_id)
    assert again == redacted
    assert (await client.memories.retrieve(made.id, memory_store_id=store_id)).content == "nothing"


async def test_versions_are_forgotten_after_thirty_days_but_never_the_present_one(house: House) -> None:
    store_id = await a_store(house)
    client = house.client().beta.memory_stores
    made = await client.memories.create(store_id, path="/a", content="one")
    changed = await client.memories.update(made.id, memory_store_id=store_id, content="two")
    await house.clock.advance(30 * 86_400)
    assert await house.memories.forget_old_versions() == 0
    await house.clock.advance(1)
    assert await house.memories.forget_old_versions() == 1
    kept = (await client.memory_versions.list(store_id)).data
    assert [version.id for version in kept] == [changed.memory_version_id]


async def test_an_archived_store_can_only_be_read(house: House) -> None:
    store_id = await a_store(house)
    client = house.client().beta.memory_stores
    made = await client.memories.create(store_id, path="/a", content="one")
    await client.archive(store_id)
    for write in (
        client.memories.create(store_id, path="/b", content=""),
        client.memories.update(made.id, memory_store_id=store_id, content="two"),
        client.memories.delete(made.id, memory_store_id=store_id),
        client.update(store_id, name="other"),
    ):
        with pytest.raises(BadRequestError) as error:
            await write
        assert "archived" in error.value.message
    assert (await client.memories.retrieve(made.id, memory_store_id=store_id)).content == "one"


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_store_is_full_at_two_thousand_memories(house: House) -> None:
    store_id = await a_store(house)
    actor = Actor("api_actor", "apikey_1")
    await asyncio.gather(
        *(house.memories.create(house.one, store_id, f"/m/{n}", "", actor) for n in range(MOST_MEMORIES))
    )
    with pytest.raises(BadRequestError) as error:
        await house.client().beta.memory_stores.memories.create(store_id, path="/one-more", content="")
    assert "full" in error.value.message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"path": "a"}, "slash"),
        ({"path": "/"}, "empty"),
        ({"path": "/a//b"}, "empty"),
        ({"path": "/a/"}, "empty"),
        ({"path": "/a/../b"}, "`..`"),
        ({"path": "/."}, "`.`"),
        ({"path": "/" + "/".join("a" * 21)}, "20 segments"),
        ({"path": "/" + "ä" * 512}, "1024 bytes"),
        ({"path": "/a\u0308"}, "Normalization"),
        ({"path": "/a\u200b"}, "control or format"),
        ({"path": "/a\nb"}, "control or format"),
        ({"path": "/a\u2028b"}, "control or format"),
        ({"content": "x" * 102_401}, "102,400"),
        ({"content": None}, "content"),
        ({"surprise": 1}, "surprise"),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_memory_that_may_not_be_is_refused_for_what_is_wrong(
    house: House, fields: dict[str, Any], words: str
) -> None:
    store_id = await a_store(house)
    body = {"path": "/fine", "content": "fine", **fields}
    with pytest.raises(BadRequestError) as error:
        await house.client().post(f"/v1/memory_stores/{store_id}/memories", cast_to=object, body=body)
    assert words in error.value.message


@pytest.mark.parametrize(
    "fields",
    [{"name": ""}, {"name": "n" * 256}, {"name": "a\tb"}, {"description": "d" * 1025}, {"metadata": {"k" * 65: ""}}],
)
@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_store_that_may_not_be_is_refused_by_name(house: House, fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError) as error:
        await house.client().post("/v1/memory_stores", cast_to=object, body={"name": "fine", **fields})
    assert next(iter(fields)) in error.value.message


class _Resource:
    """As much of a session's memory store as the SDK's worker looks at."""

    type = "memory_store"

    def __init__(self, store_id: str, path: Path, access: str) -> None:
        self.memory_store_id = store_id
        self.mount_path = str(path)
        self.name = "Notes"
        self.access = access


class _Session:
    def __init__(self, *resources: _Resource) -> None:
        self.resources = resources


async def test_the_official_worker_syncs_a_store_both_ways(house: House, tmp_path: Path) -> None:
    store_id = await a_store(house, a="one", notes__b="two", gone="three")
    client = house.client()
    mount = tmp_path / "memory" / "notes"
    worker = SessionMemoryStores(client, workdir=tmp_path)
    session: Any = _Session(_Resource(store_id, mount, "read_write"))
    await worker.download(session)
    assert (mount / "notes" / "b").read_text() == "two"

    (mount / "a").write_text("changed in the box")
    (mount / "new").mkdir()
    (mount / "new" / "c.md").write_text("made in the box")
    (mount / "gone").unlink()
    await house.client().beta.memory_stores.memories.create(store_id, path="/remote", content="made elsewhere")
    await worker.finish()

    found = {
        item.path: item.content
        async for item in client.beta.memory_stores.memories.list(store_id, view="full")
        if item.type == "memory"
    }
    assert found == {
        "/a": "changed in the box",
        "/new/c.md": "made in the box",
        "/notes/b": "two",
        "/remote": "made elsewhere",
    }
    assert (mount / "remote").read_text() == "made elsewhere"
    await worker.dispose()


async def test_two_workers_that_write_the_same_memory_lose_nothing_silently(house: House, tmp_path: Path) -> None:
    store_id = await a_store(house, a="one")
    client = house.client()
    workers = []
    for name in ("first", "second"):
        worker = SessionMemoryStores(client, workdir=tmp_path / name)
        session: Any = _Session(_Resource(store_id, tmp_path / name / "notes", "read_write"))
        await worker.download(session)
        (tmp_path / name / "notes" / "a").write_text(f"by the {name}")
        workers.append(worker)
    for worker in workers:
        await worker.finish()
        await house.clock.advance(1)
    versions = [v.content async for v in client.beta.memory_stores.memory_versions.list(store_id, view="full")]
    assert versions == ["by the first", "one"], "the second saw the conflict and took the server's"
    assert (tmp_path / "second" / "notes" / "a").read_text() == "by the first"
    for worker in workers:
        await worker.dispose()


def test_a_store_is_mounted_under_a_name_made_of_its_own() -> None:
    assert memory_paths(["User Preferences!", "../../etc", "偏好", "user preferences", "café"]) == [
        "/mnt/memory/user-preferences",
        "/mnt/memory/etc",
        "/mnt/memory/memory",
        "/mnt/memory/user-preferences-2",
        "/mnt/memory/cafe",
    ]


@pytest.mark.parametrize("database_kind", ["sqlite"])
@proves(
    "beta.memory_stores.create",
    "beta.memory_stores.retrieve",
    "beta.memory_stores.update",
    "beta.memory_stores.list",
    "beta.memory_stores.archive",
    "beta.memory_stores.delete",
    "beta.memory_stores.memories.create",
    "beta.memory_stores.memories.retrieve",
    "beta.memory_stores.memories.update",
    "beta.memory_stores.memories.list",
    "beta.memory_stores.memories.delete",
    "beta.memory_stores.memory_versions.list",
    "beta.memory_stores.memory_versions.retrieve",
    "beta.memory_stores.memory_versions.redact",
    clients=("sync",),
)
async def test_the_sync_client_drives_every_method_of_memory_stores(house: House) -> None:
    client = house.sync_client().beta.memory_stores

    def drive() -> None:
        store = client.create(name="s")
        assert client.retrieve(store.id) == store
        assert client.update(store.id, name="t").name == "t"
        memory = client.memories.create(store.id, path="/a", content="1")
        assert client.memories.retrieve(memory.id, memory_store_id=store.id).content == "1"
        changed = client.memories.update(memory.id, memory_store_id=store.id, content="2")
        assert [item.path for item in client.memories.list(store.id)] == ["/a"]
        versions = client.memory_versions
        assert {v.id for v in versions.list(store.id)} == {memory.memory_version_id, changed.memory_version_id}
        assert versions.retrieve(memory.memory_version_id, memory_store_id=store.id).content == "1"
        assert versions.redact(memory.memory_version_id, memory_store_id=store.id).redacted_at is not None
        assert client.memories.delete(memory.id, memory_store_id=store.id).id == memory.id
        assert client.archive(store.id).archived_at is not None
        assert [listed.id for listed in client.list(include_archived=True)] == [store.id]
        assert client.delete(store.id).id == store.id

    await asyncio.to_thread(drive)
