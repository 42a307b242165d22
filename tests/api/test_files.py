"""The upload route under load: flat memory, clients that leave, broken bodies; nothing stays of what became no file."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.library.files import FILE_LIMIT_BYTES
from freehold.store.engine import Store
from tests.api.house import House, open_house

HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
TYPE = {"content-type": "multipart/form-data; boundary=b"}
PIECE = bytes(64 << 10)

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"])


@pytest.fixture
async def house(store: Store, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(store, tmp_path) as house:
        yield house


def left(house: House) -> list[str]:
    return [*house.blobs.all(), *(path.name for path in (house.blobs.folder / "incoming").iterdir())]


async def body(pieces: int, end: bytes = b"\r\n--b--\r\n") -> AsyncIterator[bytes]:
    yield HEAD
    for _ in range(pieces):
        yield PIECE
    yield end


async def test_an_upload_is_never_held_in_memory(house: House) -> None:
    async with house.http() as client:
        tracemalloc.start()
        try:
            reply = await client.post("/v1/files", content=body(32 * 16), headers=TYPE)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert reply.json()["size_bytes"] == 32 << 20
    assert peak < 10 << 20, f"{peak:,} bytes at the peak"


async def test_an_upload_over_the_limit_is_413_without_being_read_to_the_end(house: House) -> None:
    async with house.http() as client:
        said = {**TYPE, "content-length": str(FILE_LIMIT_BYTES + (1 << 20))}
        reply = await client.post("/v1/files", content=HEAD, headers=said)
    assert reply.status_code == 413
    assert reply.json()["error"]["type"] == "request_too_large"
    assert left(house) == []


async def test_a_client_that_leaves_in_mid_upload_leaves_nothing(house: House) -> None:
    messages = iter([{"type": "http.request", "body": HEAD + PIECE * 40, "more_body": True}])

    async def receive() -> dict[str, object]:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: object) -> None:
        raise AssertionError("there is nobody to answer")

    scope: dict[str, object] = {
        "type": "http",
        "method": "POST",
        "path": "/v1/files",
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"authorization", b"Bearer " + house.secrets["member"].encode()),
            (b"content-type", TYPE["content-type"].encode()),
        ],
    }
    await house.app(scope, receive, send)
    assert left(house) == []


@pytest.mark.parametrize("end", [b"", b"\r\n--b", b"\r\n--b\r\nbroken\r\n\r\n"])
async def test_a_body_that_breaks_off_becomes_no_file(house: House, end: bytes) -> None:
    async with house.http() as client:
        reply = await client.post("/v1/files", content=body(20, end), headers=TYPE)
        assert reply.status_code == 400, reply.text
        assert (await client.get("/v1/files")).json()["data"] == []
    assert left(house) == []
