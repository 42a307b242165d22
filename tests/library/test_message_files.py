"""Files in messages, for upstreams that have no Files API."""

from __future__ import annotations

import base64
import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import FreeholdError, InvalidRequest, NotFound, TooLarge
from freehold.library.message_files import MessageFiles
from freehold.store.engine import Store
from tests.api.house import House, open_house

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture
async def house(store: Store, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(store, tmp_path) as house:
        yield house


def block(kind: str, file_id: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "source": {"type": "file", "file_id": file_id}, **more}


async def upload(house: House, name: str, data: bytes, mime: str, who: str = "member") -> str:
    return (await house.client(who).files.upload(file=(name, data, mime))).id


async def test_files_take_the_place_of_their_ids_wherever_a_message_may_have_them(house: House) -> None:
    image = await upload(house, "a.png", PNG, "image/png")
    pdf = await upload(house, "a.pdf", b"%PDF-1.7", "application/pdf")
    text = await upload(house, "a.csv", "ä,1".encode(), "text/csv")
    messages = [
        {"role": "user", "content": "plain"},
        {
            "role": "user",
            "content": [
                block("image", image, cache_control={"type": "ephemeral"}),
                block("document", pdf, title="T"),
                {"type": "text", "text": "file_id"},
                {"type": "tool_result", "tool_use_id": "t", "content": [block("document", text)]},
                {"type": "document", "source": {"type": "content", "content": [block("image", image)]}},
            ],
        },
    ]
    given = copy.deepcopy(messages)
    inlined = await MessageFiles(house.files).inlined(house.one, messages)
    assert messages == given, "what was given is not changed"
    png = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    assert inlined[0] == given[0]
    assert inlined[1]["content"] == [
        {"type": "image", "source": png, "cache_control": {"type": "ephemeral"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjc="},
            "title": "T",
        },
        {"type": "text", "text": "file_id"},
        {
            "type": "tool_result",
            "tool_use_id": "t",
            "content": [{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "ä,1"}}],
        },
        {"type": "document", "source": {"type": "content", "content": [{"type": "image", "source": png}]}},
    ]


@pytest.mark.parametrize(
    ("kind", "mime", "data", "error"),
    [
        ("image", "text/plain", b"x", InvalidRequest),
        ("document", "image/png", PNG, InvalidRequest),
        ("document", "application/zip", b"PK", InvalidRequest),
        ("document", "text/plain", b"\xff\xfe", InvalidRequest),
        ("document", "text/plain", b"x" * (33 << 20), TooLarge),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_file_that_does_not_fit_its_block_is_refused(
    house: House, kind: str, mime: str, data: bytes, error: type[FreeholdError]
) -> None:
    file_id = await upload(house, "x", data, mime)
    with pytest.raises(error):
        await MessageFiles(house.files).inlined(house.one, [{"role": "user", "content": [block(kind, file_id)]}])


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_one_file_may_be_a_document_here_and_no_image_there(house: House) -> None:
    text = await upload(house, "a.txt", b"x", "text/plain")
    content = [block("document", text), block("image", text)]
    with pytest.raises(InvalidRequest) as error:
        await MessageFiles(house.files).inlined(house.one, [{"role": "user", "content": content}])
    assert "block of type image" in error.value.message


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_file_of_another_workspace_is_none(house: House) -> None:
    file_id = await upload(house, "a.png", PNG, "image/png", who="other")
    with pytest.raises(NotFound):
        await MessageFiles(house.files).inlined(house.one, [{"role": "user", "content": [block("image", file_id)]}])


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_file_that_is_gone_may_leave_its_block_or_a_text(house: House) -> None:
    image = await upload(house, "a.png", PNG, "image/png")
    messages = [{"role": "user", "content": [block("image", "file_none"), block("image", image)]}]
    files = MessageFiles(house.files)
    left = (await files.inlined(house.one, messages, missing="leave"))[0]["content"]
    assert left[0] == block("image", "file_none") and left[1]["source"]["type"] == "base64"
    said = (await files.inlined(house.one, messages, missing="say"))[0]["content"]
    assert said[0] == {"type": "text", "text": "[The file file_none is gone.]"}
    with pytest.raises(NotFound):
        await files.check(house.one, messages)
