"""Skills through the official SDK in strict mode: GA and beta, folders and archives, and the shapes of old clients."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import APIStatusError, AsyncAnthropic, BadRequestError, NotFoundError
from anthropic.lib import files_from_dir
from anthropic.lib.tools._skills import download_session_skills

from freehold.errors import NotFound
from freehold.store.engine import Store
from tests.api.house import House, open_house
from tests.contract.manifest import proves, shows_difference


@pytest.fixture
async def house(store: Store, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(store, tmp_path) as house:
        yield house


def skill_md(name: str = "my-skill", description: str = "Does things.") -> bytes:
    return f"---\nname: {name}\ndescription: {description}\n---\n# {name}\n".encode()


def folder(name: str = "my-skill", body: bytes = b"print(1)", **front: str) -> list[Any]:
    return [(f"{name}/SKILL.md", skill_md(name, **front)), (f"{name}/scripts/run.py", body)]


def archive(body: bytes = b"print(1)") -> list[Any]:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("SKILL.md", skill_md())
        made.writestr("scripts/run.py", body)
    return [("upload.zip", out.getvalue())]


@proves("skills.create", "skills.retrieve", "beta.skills.create", "beta.skills.retrieve")
async def test_a_folder_or_an_archive_becomes_a_skill(house: House) -> None:
    client = house.client()
    skill = await client.skills.create(files=folder(), display_name="My skill")
    assert skill.id.startswith("skill_") and skill.latest_version_id.startswith("skver_")
    assert (skill.display_name, skill.source.type) == ("My skill", "custom")
    assert await client.skills.retrieve(skill.id) == skill
    other = await client.beta.skills.create(files=archive())
    assert other.display_name == "my-skill"
    assert (await client.beta.skills.retrieve(other.id)).latest_version_id == other.latest_version_id
    versions = [
        await client.skills.versions.retrieve("latest", skill_id=skill.id),
        await client.skills.versions.retrieve("latest", skill_id=other.id),
    ]
    assert {(v.name, v.description) for v in versions} == {("my-skill", "Does things.")}
    assert len(list(house.blobs.all())) == 1, "both are the same files"


async def test_a_folder_on_disk_is_uploaded_as_the_sdk_does_it(house: House, tmp_path: Path) -> None:
    source = tmp_path / "disk-skill"
    (source / "docs").mkdir(parents=True)
    (source / "SKILL.md").write_bytes(skill_md("disk-skill"))
    (source / "docs" / "读我.md").write_text("你好", "utf-8")
    skill = await house.client().skills.create(files=files_from_dir(source))
    reply = await house.client().beta.skills.versions.download("latest", skill_id=skill.id)
    with zipfile.ZipFile(io.BytesIO(await reply.read())) as got:
        assert got.read("disk-skill/docs/读我.md").decode() == "你好"


@proves("skills.versions.create", "skills.versions.retrieve", "skills.versions.list", "skills.versions.delete")
@shows_difference("one-version-must-stay")
async def test_a_new_version_is_the_latest_until_it_is_deleted(house: House) -> None:
    client = house.client()
    skill = await client.skills.create(files=folder())
    second = await client.skills.versions.create(skill.id, files=folder(body=b"print(2)", description="Does more."))
    assert (second.name, second.description, second.skill_id) == ("my-skill", "Does more.", skill.id)
    after = await client.skills.retrieve(skill.id)
    assert after.latest_version_id == second.id and after.updated_at >= skill.updated_at
    assert await client.skills.versions.retrieve(second.id, skill_id=skill.id) == second
    listed = [version.id async for version in client.skills.versions.list(skill.id, limit=1)]
    assert listed == [second.id, skill.latest_version_id]

    gone = await client.skills.versions.delete(second.id, skill_id=skill.id)
    assert (gone.id, gone.type) == (second.id, "skill_version_deleted")
    assert (await client.skills.retrieve(skill.id)).latest_version_id == skill.latest_version_id
    with pytest.raises(NotFoundError):
        await client.skills.versions.retrieve(second.id, skill_id=skill.id)
    with pytest.raises(BadRequestError) as error:
        await client.skills.versions.delete(skill.latest_version_id, skill_id=skill.id)
    assert "only version" in error.value.message


async def test_a_new_version_keeps_the_name(house: House) -> None:
    client = house.client()
    skill = await client.skills.create(files=folder())
    with pytest.raises(BadRequestError) as error:
        await client.skills.versions.create(skill.id, files=folder("other-name"))
    assert "other-name" in error.value.message and "my-skill" in error.value.message
    assert len((await client.skills.versions.list(skill.id)).data) == 1


@proves(
    "beta.skills.versions.create",
    "beta.skills.versions.retrieve",
    "beta.skills.versions.list",
    "beta.skills.versions.delete",
    "beta.skills.versions.download",
)
async def test_a_version_is_downloaded_as_it_was_uploaded(house: House) -> None:
    client = house.client()
    skill = await client.beta.skills.create(files=folder())
    second = await client.beta.skills.versions.create(skill.id, files=folder(body=b"#!/usr/bin/env python3\n"))
    assert await client.beta.skills.versions.retrieve("latest", skill_id=skill.id) == second
    for version, body in ((skill.latest_version_id, b"print(1)"), (second.id, b"#!/usr/bin/env python3\n")):
        reply = await client.beta.skills.versions.download(version, skill_id=skill.id)
        with zipfile.ZipFile(io.BytesIO(await reply.read())) as got:
            assert got.read("my-skill/scripts/run.py") == body
    assert [v.id async for v in client.beta.skills.versions.list(skill.id)] == [second.id, skill.latest_version_id]
    assert (await client.beta.skills.versions.delete(second.id, skill_id=skill.id)).id == second.id


@proves("skills.list", "skills.delete", "beta.skills.list", "beta.skills.delete")
async def test_skills_are_listed_newest_first_and_gone_with_everything_when_deleted(house: House) -> None:
    client = house.client()
    made = []
    for n in range(4):
        made.append((await client.skills.create(files=folder(f"skill-{n}"))).id)
        await house.clock.advance(1)
    assert [skill.id async for skill in client.skills.list(limit=3)] == made[::-1]
    assert [skill.id async for skill in client.beta.skills.list(source="custom")] == made[::-1]
    assert [skill.id async for skill in client.skills.list(source="anthropic")] == []
    for n, skill_id in enumerate(made):
        deleted = await (client.skills if n % 2 else client.beta.skills).delete(skill_id)
        assert (deleted.id, deleted.type) == (skill_id, "skill_deleted")
    assert list(house.blobs.all()) == []
    with pytest.raises(NotFoundError):
        await client.skills.versions.retrieve("latest", skill_id=made[0])


async def test_a_sweep_spares_the_archives_of_skills(house: House) -> None:
    skill = await house.client().skills.create(files=folder())
    assert (await house.sweeper.sweep()).blobs == 0
    assert await (await house.client().beta.skills.versions.download("latest", skill_id=skill.id)).read()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "files"),
        ([("x/readme.md", b"")], "SKILL.md"),
        ([("SKILL.md", b"# nothing")], "SKILL.md"),
        ([("x/SKILL.md", skill_md()), ("x/../../etc/passwd", b"")], "path"),
        ([("x/SKILL.md", skill_md()), ("x/big", bytes(31 << 20))], "larger"),
        ([("broken.zip", b"PK\x03\x04broken")], "zip"),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_an_upload_that_is_no_skill_is_refused_and_leaves_nothing(
    house: House, files: list[Any], words: str
) -> None:
    with pytest.raises(APIStatusError) as error:
        await house.client().skills.create(files=files)
    assert error.value.status_code in (400, 413)
    assert words in error.value.message
    await house.sweeper.sweep()
    assert list(house.blobs.all()) == []


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_an_old_client_gets_the_shapes_it_knows(house: House) -> None:
    old = {"anthropic-beta": "skills-2025-10-02"}
    async with house.http() as plain:
        upload = [("files[]", ("old/SKILL.md", skill_md("old"))), ("display_title", (None, b"Old skill"))]
        skill = (await plain.post("/v1/skills", files=upload, headers=old)).json()
        assert (skill["display_title"], skill["source"]) == ("Old skill", "custom")
        assert "display_name" not in skill and skill["latest_version"].isdecimal()
        path = f"/v1/skills/{skill['id']}/versions"
        version = (await plain.get(f"{path}/{skill['latest_version']}", headers=old)).json()
        assert (version["version"], version["directory"]) == (skill["latest_version"], "old")
        second = (await plain.post(path, files=upload[:1], headers=old)).json()
        assert int(second["version"]) > int(version["version"])
        listed = (await plain.get("/v1/skills", headers=old)).json()
        assert [row["latest_version"] for row in listed["data"]] == [second["version"]]
        assert listed["has_more"] is False
        gone = (await plain.delete(f"{path}/{second['version']}", headers=old)).json()
        assert gone == {"id": second["version"], "type": "skill_version_deleted"}


async def test_an_agent_names_skills_that_exist_and_a_session_pins_what_they_are_then(house: House) -> None:
    client = house.client()
    skill = await client.skills.create(files=folder())
    agent = await client.beta.agents.create(
        name="A", model="claude-haiku-4-5", skills=[{"type": "custom", "skill_id": skill.id}]
    )
    [named] = agent.skills
    assert (named.type, named.skill_id, named.version) == ("custom", skill.id, "latest")
    before = await house.skills.pinned(house.one, [named.to_dict()])  # type: ignore[list-item]
    second = await client.skills.versions.create(skill.id, files=folder(body=b"2"))
    after = await house.skills.pinned(house.one, [named.to_dict()])  # type: ignore[list-item]
    assert [pins[0]["version"] for pins in (before, after)] == [skill.latest_version_id, second.id]
    twice: Any = [{"type": "custom", "skill_id": skill.id}, {"type": "custom", "skill_id": skill.id}]
    with pytest.raises(BadRequestError) as error:
        await client.beta.agents.update(agent.id, skills=twice)
    assert "twice" in error.value.message
    pinned = await client.beta.agents.update(
        agent.id, skills=[{"type": "custom", "skill_id": skill.id, "version": second.id}]
    )
    assert pinned.skills[0].version == second.id


async def test_a_skill_is_laid_out_whole_for_all_sessions_at_once(house: House) -> None:
    skill = await house.client().skills.create(files=folder(body=b"#!/bin/sh\n"))
    laid = await asyncio.gather(*(house.skills.laid_out(house.one, skill.id, "latest") for _ in range(8)))
    assert len(set(laid)) == 1
    assert (laid[0].name, laid[0].description) == ("my-skill", "Does things.")
    assert (laid[0].folder / "scripts" / "run.py").read_bytes() == b"#!/bin/sh\n"
    assert [entry.name for entry in laid[0].folder.parent.iterdir()] == [laid[0].folder.name], "no scratch is left"
    with pytest.raises(NotFound):
        await house.skills.laid_out(house.other, skill.id, "latest")


class _Agent:
    def __init__(self, skills: list[Any]) -> None:
        self.skills = skills


class _Session:
    """As much of a session as the SDK's download looks at."""

    def __init__(self, skills: list[Any]) -> None:
        self.agent = _Agent(skills)


class _Pinned:
    def __init__(self, skill_id: str, version: str) -> None:
        self.skill_id, self.version = skill_id, version


async def test_the_official_worker_lays_out_the_skills_of_a_session(house: House, tmp_path: Path) -> None:
    client: AsyncAnthropic = house.client()
    one = await client.skills.create(files=folder("one-skill", b"#!/bin/sh\necho 1\n"))
    two = await client.skills.create(files=folder("two-skill"))
    session: Any = _Session([_Pinned(one.id, "latest"), _Pinned(two.id, two.latest_version_id)])
    laid = await download_session_skills(client, workdir=tmp_path / "work", session=session)
    assert sorted(path.name for path in laid) == ["one-skill", "two-skill"]
    script = tmp_path / "work" / "skills" / "one-skill" / "scripts" / "run.py"
    assert script.read_bytes() == b"#!/bin/sh\necho 1\n" and script.stat().st_mode & 0o111


@pytest.mark.parametrize("database_kind", ["sqlite"])
@proves(
    "skills.create",
    "skills.retrieve",
    "skills.list",
    "skills.delete",
    "skills.versions.create",
    "skills.versions.retrieve",
    "skills.versions.list",
    "skills.versions.delete",
    "beta.skills.create",
    "beta.skills.retrieve",
    "beta.skills.list",
    "beta.skills.delete",
    "beta.skills.versions.create",
    "beta.skills.versions.retrieve",
    "beta.skills.versions.list",
    "beta.skills.versions.delete",
    "beta.skills.versions.download",
    clients=("sync",),
)
async def test_the_sync_client_drives_every_method_of_skills(house: House) -> None:
    client = house.sync_client()

    def drive() -> None:
        for skills in (client.skills, client.beta.skills):
            skill = skills.create(files=folder())
            assert skills.retrieve(skill.id) == skill
            assert [listed.id for listed in skills.list()] == [skill.id]
            second = skills.versions.create(skill.id, files=folder(body=b"2"))
            assert skills.versions.retrieve(second.id, skill_id=skill.id) == second
            assert [version.id for version in skills.versions.list(skill.id)] == [second.id, skill.latest_version_id]
            assert client.beta.skills.versions.download(second.id, skill_id=skill.id).read()[:2] == b"PK"
            assert skills.versions.delete(second.id, skill_id=skill.id).id == second.id
            assert skills.delete(skill.id).id == skill.id

    await asyncio.to_thread(drive)
