"""The library of a workspace goes out as a readable tar and comes back in elsewhere as it was."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from freehold.clock import SystemClock
from freehold.errors import Conflict, InvalidRequest
from freehold.library.exports import Export
from freehold.library.imports import Import, Imported
from freehold.store.engine import Store
from freehold.store.files import FileRows
from freehold.store.memories import Actor, MemoryRows
from freehold.store.memory_stores import MemoryStoreRows
from freehold.store.memory_versions import MemoryVersionRows
from freehold.store.restoring import Restoring
from freehold.store.skills import SkillRows
from tests.api.house import House, open_house

SKILL_MD = b"---\nname: my-skill\ndescription: Does things.\n---\n"


@pytest.fixture
async def house(store: Store, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(store, tmp_path / "one") as house:
        yield house


@pytest.fixture
async def elsewhere(tmp_path: Path) -> AsyncIterator[House]:
    store = await Store.open(f"sqlite:///{tmp_path / 'elsewhere.db'}", clock=SystemClock())
    async with open_house(store, tmp_path / "two") as house:
        yield house
    await store.close()


async def export(house: House) -> io.BytesIO:
    out = io.BytesIO()
    store = house.store
    writer = Export(
        FileRows(store),
        SkillRows(store),
        MemoryStoreRows(store),
        MemoryRows(store, ids=str),
        MemoryVersionRows(store),
        house.blobs,
        clock=house.clock,
    )
    await writer.write(house.one, out)
    out.seek(0)
    return out


async def take_in(house: House, tar: io.BytesIO) -> Imported:
    return await Import(Restoring(house.store), house.blobs, clock=house.clock).read(house.one, tar)


async def furnish(house: House) -> None:
    client = house.client()
    for n in range(3):
        await client.files.upload(file=(f"报告 {n}.csv", f"data {n}".encode(), "text/csv"))
        await house.clock.advance(1)
    await client.files.upload(file=("short.txt", b"x"), expires_in_seconds=3600)
    skill = await client.skills.create(files=[("my-skill/SKILL.md", SKILL_MD), ("my-skill/run.sh", b"#!/bin/sh\n")])
    await house.clock.advance(1)
    await client.skills.versions.create(skill.id, files=[("my-skill/SKILL.md", SKILL_MD + b"more")])
    stores = client.beta.memory_stores
    notes = await stores.create(name="Notes", description="d", metadata={"k": "v"})
    long = "/" + "n" * 300 + "/ä.md"
    memory = await stores.memories.create(notes.id, path=long, content="eins \0 zwei")
    await house.clock.advance(1)
    await stores.memories.update(memory.id, memory_store_id=notes.id, content="drei")
    await stores.memory_versions.redact(memory.memory_version_id, memory_store_id=notes.id)
    gone = await stores.memories.create(notes.id, path="/gone", content="weg")
    await house.memories.delete(house.one, notes.id, gone.id, actor=Actor("session_actor", "sesn_1"))
    await stores.archive((await stores.create(name="Old")).id)


async def seen(house: House) -> list[str]:
    """All that a client can see of the library."""
    async with house.http() as client:
        texts = []
        stores = (await client.get("/v1/memory_stores?include_archived=true")).json()["data"]
        skills = (await client.get("/v1/skills")).json()["data"]
        for path in (
            "/v1/files",
            "/v1/skills",
            *(f"/v1/skills/{skill['id']}/versions" for skill in skills),
            "/v1/memory_stores?include_archived=true",
            *(f"/v1/memory_stores/{store['id']}/memories?view=full" for store in stores),
            *(f"/v1/memory_stores/{store['id']}/memory_versions?view=full" for store in stores),
        ):
            texts.append((await client.get(path)).text)
        for skill in skills:
            texts.append(repr((await client.get(f"/v1/skills/{skill['id']}/versions/latest/content")).content))
        return texts


async def test_what_went_out_comes_back_in_on_another_server_as_it_was(house: House, elsewhere: House) -> None:
    await furnish(house)
    await elsewhere.clock.advance((house.clock.now_us() - elsewhere.clock.now_us()) / 1e6)
    tar = await export(house)
    assert await take_in(elsewhere, tar) == Imported(files=4, skills=1, memory_stores=2)
    assert await seen(elsewhere) == await seen(house)
    again = await export(elsewhere)
    assert again.getvalue() == tar.getvalue()
    assert (await elsewhere.sweeper.sweep()).blobs == 0


async def test_an_export_can_be_read_by_a_person(house: House) -> None:
    await furnish(house)
    with tarfile.open(fileobj=await export(house)) as tar:
        names = tar.getnames()
        assert names[0] == "freehold-library.json"
        file = next(name for name in names if name.endswith("file.json"))
        assert json.load(tar.extractfile(file) or io.BytesIO())["filename"] == "short.txt"
        [run] = [name for name in names if name.endswith("/content/run.sh")]
        assert tar.getmember(run).mode & 0o111
        assert any(name.endswith("/ä.md") for name in names)


async def test_expired_files_go_without_their_bytes_and_files_of_sessions_not_at_all(
    house: House, elsewhere: House
) -> None:
    await furnish(house)
    await house.files.register_output(house.one, "sesn_1", io.BytesIO(b"out"), "out.txt")
    await house.clock.advance(4000)
    await elsewhere.clock.advance((house.clock.now_us() - elsewhere.clock.now_us()) / 1e6)
    assert (await take_in(elsewhere, await export(house))).files == 4
    assert len(list(elsewhere.blobs.all())) == 3 + 2


async def test_an_import_over_what_is_there_is_refused(house: House) -> None:
    await furnish(house)
    before = await seen(house)
    with pytest.raises(Conflict):
        await take_in(house, await export(house))
    assert await seen(house) == before


def _rewritten(
    tar: io.BytesIO, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]
) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=tar) as old, tarfile.open(fileobj=out, mode="w") as new:
        for info in old:
            file = old.extractfile(info)
            info, data = change(info, file.read() if file else b"")
            info.size = len(data)
            new.addfile(info, io.BytesIO(data))
    out.seek(0)
    return out


def _linked(info: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    if info.name.endswith("/run.sh"):
        info.type, info.linkname, data = tarfile.SYMTYPE, "/etc/passwd", b""
    return info, data


def _escaping(info: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info.name = info.name.replace("content/run.sh", "content/../../../run.sh")
    return info, data


def _other_bytes(info: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return info, b"other" if info.name.startswith("files/") and info.name.endswith("/content") else data


def _other_memory(info: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return info, b"other" if info.name.endswith("ä.md") else data


def _bad_name(info: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return info, data.replace("报告 0".encode(), b"../x")


def _wrong_kind(info: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return info, data.replace(b'"metadata": {', b'"metadata": 5, "x": {')


def _other_format(info: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return info, data.replace(b'"format": 1', b'"format": 2')


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_linked, "plain files"),
        (_escaping, "path"),
        (_other_bytes, "is not what"),
        (_other_memory, "SHA-256"),
        (_bad_name, "name"),
        (_wrong_kind, "store.json"),
        (_other_format, "format"),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_tar_that_was_tampered_with_is_refused_by_the_place(
    house: House,
    elsewhere: House,
    spoil: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]],
    said: str,
) -> None:
    await furnish(house)
    with pytest.raises(InvalidRequest) as error:
        await take_in(elsewhere, _rewritten(await export(house), spoil))
    assert said in error.value.message


async def test_what_is_no_tar_is_refused(elsewhere: House) -> None:
    for data in (b"", b"not a tar" * 1000):
        with pytest.raises(InvalidRequest):
            await take_in(elsewhere, io.BytesIO(data))
