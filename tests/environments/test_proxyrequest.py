"""Reading what a program asks of the proxy."""

from __future__ import annotations

import asyncio

import pytest

from freehold.environments.proxyrequest import BadRequest, Head, Target, body, parse


def head(*lines: bytes) -> Head:
    return parse(b"\r\n".join(lines) + b"\r\n\r\n")


def test_a_connect_has_a_target() -> None:
    found = head(b"CONNECT api.example.com:443 HTTP/1.1", b"Host: other.example.com")
    assert found.tunnel
    assert found.target == Target("api.example.com", 443)


def test_a_plain_request_leaves_with_the_name_that_was_judged() -> None:
    found = head(
        b"POST http://API.example.com:8080/a?b=c HTTP/1.1",
        b"Host: spoofed.example.com",
        b"Proxy-Authorization: Basic x",
        b"Connection: keep-alive, x",
        b"Content-Length: 3",
        b"X-Own: 1",
    )
    assert found.target == Target("API.example.com", 8080)
    assert found.forwarded("api.example.com") == (
        b"POST /a?b=c HTTP/1.1\r\nHost: api.example.com:8080\r\nConnection: close\r\n"
        b"Content-Length: 3\r\nX-Own: 1\r\n\r\n"
    )
    assert head(b"GET http://a.com HTTP/1.1").forwarded("a.com").startswith(b"GET / HTTP/1.1\r\nHost: a.com\r\n")


@pytest.mark.parametrize(
    "lines",
    [
        (b"",),
        (b"GET /",),
        (b"GET / HTTP/1.1",),
        (b"GET https://a.com/ HTTP/1.1",),
        (b"GET http:///x HTTP/1.1",),
        (b"GET http://user@a.com/ HTTP/1.1",),
        (b"GET http://a.com:99999999/ HTTP/1.1",),
        (b"GET http://a.com/\xff HTTP/1.1",),
        (b"GET http://a.com/ HTTP/2.0",),
        (b"CONNECT a.com HTTP/1.1",),
        (b"CONNECT :443 HTTP/1.1",),
        (b"CONNECT a.com:x HTTP/1.1",),
        (b"CONNECT a.com:443 x HTTP/1.1",),
        (b"GET http://a.com/ HTTP/1.1", b"no colon"),
        (b"GET http://a.com/ HTTP/1.1", b"Name : space before the colon"),
        (b"GET http://a.com/ HTTP/1.1", b" folded: line"),
        (b"GET http://a.com/ HTTP/1.1", b"A: b\nHost: c"),
        (b"GET http://a.com/ HTTP/1.1", b"A: \0"),
        (b"GET http://a.com/ HTTP/1.1", b"Content-Length: 1", b"Content-Length: 2"),
        (b"GET http://a.com/ HTTP/1.1", b"Content-Length: +1"),
        (b"GET http://a.com/ HTTP/1.1", b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        (b"GET http://a.com/ HTTP/1.1", b"Transfer-Encoding: gzip, chunked"),
    ],
)
def test_what_is_unclear_is_refused(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(BadRequest):
        head(*lines)


async def sent(found: Head, data: bytes) -> bytes:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return b"".join([piece async for piece in body(found, reader)])


async def test_a_body_ends_where_its_length_says() -> None:
    found = head(b"POST http://a.com/ HTTP/1.1", b"Content-Length: 5")
    assert await sent(found, b"12345GET http://b.com/ HTTP/1.1\r\n\r\n") == b"12345"
    assert await sent(head(b"GET http://a.com/ HTTP/1.1"), b"GET http://b.com/") == b""
    with pytest.raises(EOFError):
        await sent(found, b"123")


async def test_chunks_end_with_the_last_one() -> None:
    found = head(b"POST http://a.com/ HTTP/1.1", b"Transfer-Encoding: chunked")
    assert await sent(found, b"3;x=y\r\nabc\r\n0\r\n\r\nGET http://b.com/") == b"3\r\nabc\r\n0\r\n\r\n"
    for bad in (b"x\r\n", b"3\r\nabcX\r\n", b"-1\r\n", b"0\r\nTrailer: x\r\n\r\n", b"\r\n"):
        with pytest.raises((BadRequest, EOFError)):
            await sent(found, bad)
