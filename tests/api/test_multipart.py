"""multipart/form-data in any split: every part once, nothing held, broken bodies refused."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from freehold.api.multipart import Multipart
from freehold.errors import InvalidRequest

TYPE = "multipart/form-data; boundary=xyz"
BODY = (
    b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="d/\xc3\xa4.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\n"
    b"one\r\n--xy two\r\n\r\n"
    b'--xyz\r\nContent-Disposition: form-data; name="expires_in_seconds"\r\n\r\n3600\r\n'
    b"--xyz--\r\n"
)


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def multipart(body: bytes, size: int = 1 << 16, content_type: str = TYPE, most_parts: int = 10) -> Multipart:
    return Multipart(content_type, pieces(body, size), most_parts=most_parts)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 16])
async def test_parts_are_the_same_in_every_split(size: int) -> None:
    found = []
    async for part in multipart(BODY, size):
        data = b"".join([piece async for piece in part.pieces()])
        found.append((part.name, part.filename, part.content_type, data))
    assert found == [
        ("file", "d/ä.txt", "text/plain", b"one\r\n--xy two\r\n"),
        ("expires_in_seconds", None, None, b"3600"),
    ]


async def test_a_part_that_nobody_reads_is_skipped() -> None:
    assert [part.name async for part in multipart(BODY, 5)] == ["file", "expires_in_seconds"]


@pytest.mark.parametrize("cut", [3, 20, 100, 120, 140, len(BODY) - 5])
async def test_a_body_that_ends_early_is_refused(cut: int) -> None:
    with pytest.raises(InvalidRequest):
        async for part in multipart(BODY[:cut]):
            async for _ in part.pieces():
                pass


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 71]
)
async def test_another_content_type_is_refused_by_name(content_type: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        multipart(BODY, content_type=content_type)
    assert "content-type" in error.value.message


@pytest.mark.parametrize(
    "body",
    [
        b"--abc\r\n\r\n--abc--",
        b'--xyz\r\nContent-Disposition: form-data; filename="a"\r\n\r\nx\r\n--xyz--',
        b'--xyz\r\nContent-Disposition: form-data; name="a\xff"\r\n\r\nx\r\n--xyz--',
        b"--xyz\r\n" + b"X: y\r\n" * 100 + b"\r\nx\r\n--xyz--",
        b"--xyz\r\nX: " + b"y" * 100_000 + b"\r\n\r\nx\r\n--xyz--",
        b"",
    ],
)
async def test_a_broken_body_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        async for part in multipart(body):
            await part.text()


async def test_more_parts_than_taken_are_refused() -> None:
    with pytest.raises(InvalidRequest) as error:
        async for _ in multipart(BODY, most_parts=1):
            pass
    assert "more than the 1 parts" in error.value.message


async def test_a_value_that_is_too_long_or_not_utf8_is_refused() -> None:
    head = b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
    for value in (b"x" * 5000, b"\xff"):
        with pytest.raises(InvalidRequest) as error:
            async for part in multipart(head + value + b"\r\n--xyz--"):
                await part.text()
        assert error.value.message.startswith("a:")
