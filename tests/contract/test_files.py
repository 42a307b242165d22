"""Files through the official SDK in strict mode: GA and beta shapes, and the list shape of old clients."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from anthropic import BadRequestError, NotFoundError

from freehold.library.files import FilesSettings
from freehold.store.engine import Store
from tests.api.house import House, open_house
from tests.contract.manifest import proves

BYTES = bytes(range(256)) * 1000


@pytest.fixture
async def house(store: Store, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(store, tmp_path) as house:
        yield house


@proves("files.upload", "files.retrieve_metadata", "beta.files.retrieve_metadata")
async def test_an_upload_becomes_a_file_that_may_not_be_downloaded(house: House) -> None:
    client = house.client()
    file = await client.files.upload(file=("orders.csv", BYTES, "text/csv"))
    assert file.id.startswith("file_")
    assert (file.type, file.filename, file.mime_type, file.size_bytes) == ("file", "orders.csv", "text/csv", len(BYTES))
    assert (file.downloadable, file.expires_at) == (False, None)
    assert await client.files.retrieve_metadata(file.id) == file
    assert (await client.beta.files.retrieve_metadata(file.id)).scope is None
    with pytest.raises(BadRequestError) as error:
        await client.files.download(file.id)
    assert _code(error.value) == "file_not_downloadable"


@proves("beta.files.list", "files.download", "beta.files.download")
async def test_an_output_of_a_session_is_listed_by_its_scope_and_comes_back_byte_for_byte(house: House) -> None:
    client = house.client()
    output = await house.files.register_output(house.one, "sesn_1", io.BytesIO(BYTES), "报告 1.png")
    await client.files.upload(file=("other.txt", b"x"))
    [listed] = [file async for file in client.beta.files.list(scope_id="sesn_1")]
    assert (listed.id, listed.filename, listed.mime_type, listed.downloadable) == (
        output.id,
        "报告 1.png",
        "image/png",
        True,
    )
    assert listed.scope is not None and (listed.scope.type, listed.scope.id) == ("session", "sesn_1")
    for reply in (await client.files.download(listed.id), await client.beta.files.download(listed.id)):
        assert await reply.read() == BYTES
        assert reply.headers["content-type"] == "image/png"
        assert reply.headers["content-length"] == str(len(BYTES))
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "attachment" in reply.headers["content-disposition"]


async def test_the_name_is_the_last_part_of_what_was_sent_or_made_from_the_type(house: House) -> None:
    client = house.client()
    assert (await client.files.upload(file=("a/b/c.txt", b"x"))).filename == "c.txt"
    async with house.http() as plain:
        body = (
            b'--b\r\nContent-Disposition: form-data; name="file"%s\r\n'
            b"Content-Type: application/pdf\r\n\r\nx\r\n--b--\r\n"
        )
        for filename, expected in (
            (b"", "unnamed.pdf"),
            (b'; filename=""', "unnamed.pdf"),
            (b'; filename="C:\\x\\y.pdf"', "y.pdf"),
        ):
            reply = await plain.post(
                "/v1/files", content=body % filename, headers={"content-type": "multipart/form-data; boundary=b"}
            )
            assert reply.json()["filename"] == expected


@pytest.mark.parametrize("name", ["..", ".", "a:b", "a*b", "a?", "x<y", "x|y", "n" * 256])
@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_name_that_no_file_may_have_is_refused_and_leaves_nothing(house: House, name: str) -> None:
    with pytest.raises(BadRequestError) as error:
        await house.client().files.upload(file=(name, b"x"))
    assert "name" in error.value.message
    await _nothing_is_left(house)


async def test_a_file_expires_in_two_steps(house: House) -> None:
    client = house.client()
    file = await client.files.upload(file=("a.txt", b"x"), expires_in_seconds=3600)
    assert file.expires_at is not None
    assert (file.expires_at - file.created_at).total_seconds() == 3600
    await house.clock.advance(3600)
    with pytest.raises(NotFoundError) as error:
        await client.files.download(file.id)
    assert _code(error.value) == "file_expired"
    assert await house.files.forget_expired() == 0
    assert (await house.sweeper.sweep()).blobs == 1
    assert (await client.files.retrieve_metadata(file.id)).id == file.id
    await house.clock.advance(30 * 86_400 + 1)
    assert await house.files.forget_expired() == 1
    with pytest.raises(NotFoundError):
        await client.files.retrieve_metadata(file.id)


@pytest.mark.parametrize("seconds", [3599, 7_776_001, 0, -1])
@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_time_to_live_out_of_bounds_is_refused(house: House, seconds: int) -> None:
    with pytest.raises(BadRequestError) as error:
        await house.client().files.upload(file=("a.txt", b"x"), expires_in_seconds=seconds)
    assert "expires_in_seconds" in error.value.message
    await _nothing_is_left(house)


@proves("files.delete", "beta.files.delete", "beta.files.upload")
async def test_a_deleted_file_is_gone_and_its_bytes_with_the_last_that_had_them(house: House) -> None:
    client = house.client()
    first = await client.files.upload(file=("a.txt", BYTES))
    second = await client.beta.files.upload(file=("b.txt", BYTES))
    assert len(list(house.blobs.all())) == 1, "the same bytes are kept once"
    deleted = await client.files.delete(first.id)
    assert (deleted.id, deleted.type) == (first.id, "file_deleted")
    _, path = await house.files.open(house.one, second.id)
    assert path.read_bytes() == BYTES
    await client.beta.files.delete(second.id)
    await _nothing_is_left(house)
    with pytest.raises(NotFoundError):
        await client.files.delete(first.id)


@proves("files.list")
async def test_a_list_pages_newest_first_and_takes_ids(house: House) -> None:
    client = house.client()
    made = []
    for n in range(5):
        made.append((await client.files.upload(file=(f"{n}.txt", b"x"))).id)
        await house.clock.advance(1)
    page = await client.files.list(limit=2)
    assert page.next_page is not None and page.next_page.startswith("page_")
    assert [file.id async for file in client.files.list(limit=2)] == made[::-1]
    some = await client.files.list(ids=[made[3], made[1], "file_gone", made[1]])
    assert [file.id for file in some.data] == [made[3], made[1]]
    assert some.next_page is None
    for wrong in ({"ids": [made[0]], "limit": 1}, {"ids": [f"file_{n}" for n in range(101)]}):
        with pytest.raises(BadRequestError) as error:
            await client.files.list(**wrong)
        assert "ids" in error.value.message


async def test_an_old_client_gets_the_list_it_knows(house: House) -> None:
    client = house.client()
    made = []
    for n in range(5):
        made.append((await client.files.upload(file=(f"{n}.txt", b"x"))).id)
        await house.clock.advance(1)
    newest = made[::-1]
    async with house.http() as plain:
        old = {"anthropic-beta": "files-api-2025-04-14"}

        async def ids(query: str) -> tuple[list[str], bool]:
            body = (await plain.get(f"/v1/files?{query}", headers=old)).json()
            listed = [file["id"] for file in body["data"]]
            assert (body["first_id"], body["last_id"]) == ((listed[0], listed[-1]) if listed else (None, None))
            return listed, body["has_more"]

        assert await ids("limit=2") == (newest[:2], True)
        assert await ids(f"limit=2&after_id={newest[1]}") == (newest[2:4], True)
        assert await ids(f"limit=2&after_id={newest[3]}") == (newest[4:], False)
        assert await ids(f"limit=2&before_id={newest[4]}") == (newest[2:4], True)


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_an_upload_without_its_file_or_with_a_foreign_field_is_refused(house: House) -> None:
    async with house.http() as plain:
        for files, words in (
            ({"other": ("a.txt", b"x")}, "other"),
            ({"expires_in_seconds": (None, b"3600")}, "file: the part"),
            ([("file", ("a", b"x")), ("file", ("b", b"y"))], "file"),
            ({"file": ("a", b"x"), "expires_in_seconds": (None, b"soon")}, "expires_in_seconds"),
        ):
            reply = await plain.post("/v1/files", files=files)
            assert reply.status_code == 400
            assert words in reply.json()["error"]["message"]
    await _nothing_is_left(house)


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_workspace_cannot_hold_more_than_its_quota_even_by_uploads_side_by_side(
    store: Store, tmp_path: Path
) -> None:
    async with open_house(store, tmp_path, settings=FilesSettings(files_quota_bytes=2500)) as house:
        await _fill(house)


async def _fill(house: House) -> None:
    client = house.client()
    outcomes = await asyncio.gather(
        *(client.files.upload(file=(f"{n}.bin", bytes([n]) * 1000)) for n in range(5)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BadRequestError)]
    assert refused and {_code(error) for error in refused} == {"storage_quota_exceeded"}
    kept = [file async for file in client.files.list()]
    assert len(kept) == 5 - len(refused) <= 2
    await house.sweeper.sweep()
    assert len(list(house.blobs.all())) == len(kept)
    await client.files.delete(kept[0].id)
    assert (await client.files.upload(file=("again.bin", b"y" * 1000))).size_bytes == 1000
    assert (await house.client("other").files.upload(file=("theirs.bin", b"z" * 2000))).size_bytes == 2000


@pytest.mark.parametrize("database_kind", ["sqlite"])
@proves(
    "files.upload",
    "files.retrieve_metadata",
    "files.list",
    "files.download",
    "files.delete",
    "beta.files.upload",
    "beta.files.retrieve_metadata",
    "beta.files.list",
    "beta.files.download",
    "beta.files.delete",
    clients=("sync",),
)
async def test_the_sync_client_drives_every_method_of_files(house: House) -> None:
    output = await house.files.register_output(house.one, "sesn_1", io.BytesIO(BYTES), "out.bin")
    client = house.sync_client()

    def drive() -> None:
        for files in (client.files, client.beta.files):
            file = files.upload(file=("a.bin", io.BytesIO(BYTES)), expires_in_seconds=7200)
            assert files.retrieve_metadata(file.id) == file
            assert {listed.id for listed in files.list(limit=1)} == {file.id, output.id}
            assert files.download(output.id).read() == BYTES
            assert files.delete(file.id).id == file.id

    await asyncio.to_thread(drive)


async def _nothing_is_left(house: House) -> None:
    await house.sweeper.sweep()
    assert list(house.blobs.all()) == []
    assert list((house.blobs.path("00").parent.parent / "incoming").iterdir()) == []


def _code(error: BadRequestError | NotFoundError) -> object:
    body = error.body
    assert isinstance(body, dict)
    return body["error"]["details"]["error_code"]
