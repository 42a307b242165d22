"""Blobs in an object store: the same rules as on disk, on fsspec's own stores."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import fsspec
import pytest

from freehold import testing
from freehold.errors import FreeholdError, Misconfigured
from freehold.library.object_blobs import ObjectBlobs

BYTES = os.urandom(3_000_000)
NAME = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture(params=["file", "memory"])
def url(request: Any, tmp_path: Path) -> str:
    fsspec.filesystem("memory").store.clear()
    return f"file://{tmp_path}/there" if request.param == "file" else "memory://there"


def kept_at(url: str, name: str) -> tuple[Any, str]:
    fs, root = fsspec.core.url_to_fs(url)
    return fs, f"{root}/{name[:2]}/{name}"


async def put(blobs: ObjectBlobs, data: bytes) -> str:
    async with blobs.incoming() as incoming:
        for start in range(0, len(data), 70_000):
            await incoming.write(data[start : start + 70_000])
        return await incoming.keep()


async def read(blobs: ObjectBlobs, name: str) -> bytes:
    return b"".join([piece async for piece in blobs.chunks(name)])


async def test_a_blob_comes_back_on_another_host(url: str, tmp_path: Path) -> None:
    assert await put(ObjectBlobs(tmp_path / "a", url), BYTES) == NAME
    other = ObjectBlobs(tmp_path / "b", url)
    assert list(other.all()) == [NAME]
    assert await read(other, NAME) == BYTES
    assert (await other.local(NAME)).parent.parent == tmp_path / "b"
    other.remove(NAME)
    assert list(ObjectBlobs(tmp_path / "c", url).all()) == []
    with pytest.raises(FileNotFoundError):
        await ObjectBlobs(tmp_path / "c", url).local(NAME)


async def test_what_a_crash_left_half_is_put_whole_by_the_next_upload(url: str, tmp_path: Path) -> None:
    fs, key = kept_at(url, NAME)
    fs.makedirs(key.rpartition("/")[0], exist_ok=True)
    fs.pipe_file(key, BYTES[:1000])
    blobs = ObjectBlobs(tmp_path / "a", url)
    await put(blobs, BYTES)
    assert fs.cat_file(key) == BYTES


async def test_other_bytes_than_the_name_says_are_never_handed_out(url: str, tmp_path: Path) -> None:
    await put(ObjectBlobs(tmp_path / "a", url), BYTES)
    fs, key = kept_at(url, NAME)
    fs.pipe_file(key, b"tampered with")
    other = ObjectBlobs(tmp_path / "b", url)
    with pytest.raises(FreeholdError, match="other bytes"):
        await other.local(NAME)
    assert not other.path(NAME).exists() and other.sweep_incoming() == 0


async def test_old_copies_go_and_are_fetched_again(url: str, tmp_path: Path) -> None:
    blobs = ObjectBlobs(tmp_path / "a", url)
    await put(blobs, BYTES)
    os.utime(blobs.path(NAME), (0, 0))
    fresh = await put(blobs, b"fresh")
    blobs.sweep_incoming()
    assert not blobs.path(NAME).exists() and blobs.path(fresh).exists()
    assert await read(blobs, NAME) == BYTES


def test_an_unknown_kind_of_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="blobs_url"):
        ObjectBlobs(tmp_path, "nonsense://x")


async def test_a_server_keeps_files_and_skills_there_and_orphans_go_with_the_sweep(url: str, tmp_path: Path) -> None:
    async with testing.server(settings={"blobs_url": url}) as running:
        given = await running.client.files.upload(file=("a.txt", BYTES, "text/plain"))
        skill_md = b"---\nname: own\ndescription: Does things.\n---\n"
        skill = await running.client.beta.skills.create(files=[("own/SKILL.md", skill_md)])
        content = await running.client.beta.skills.versions.download(skill.latest_version_id or "", skill_id=skill.id)
        assert (await content.read())[:2] == b"PK"
        fs, key = kept_at(url, NAME)
        assert fs.size(key) == len(BYTES)
        orphan = hashlib.sha256(b"nobody").hexdigest()
        lost = kept_at(url, orphan)[1]
        fs.makedirs(lost.rpartition("/")[0], exist_ok=True)
        fs.pipe_file(lost, b"nobody")
        await running.application._parts.library.tidy()
        fs.invalidate_cache()
        assert not fs.exists(lost) and fs.exists(key)
        await running.client.files.delete(given.id)
        assert not fs.exists(key)
