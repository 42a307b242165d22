"""The server name of real TLS clients, however it arrives, and of liars."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.environments.clienthello import NotTls, server_name


def hello(name: str | None) -> bytes:
    """What Python's own TLS says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def test_the_name_is_found_byte_by_byte() -> None:
    data = hello("api.example.com")
    for end in range(len(data)):
        assert server_name(data[:end]) is None
    assert server_name(data) == "api.example.com"
    assert server_name(data + b"more") == "api.example.com"


def test_no_name_is_an_empty_name() -> None:
    assert server_name(hello(None)) == ""


def test_a_message_in_many_records_is_put_together() -> None:
    data = hello("api.example.com")
    body = data[5:]
    split = b"".join(
        b"\x16\x03\x01" + len(body[n : n + 7]).to_bytes(2, "big") + body[n : n + 7] for n in range(0, len(body), 7)
    )
    assert server_name(split) == "api.example.com"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-x\r\n",
        b"\x16\x02\x01\x00\x05hello",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03",
        b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + bytes(200_000),
    ],
)
def test_what_is_not_tls_is_told(data: bytes) -> None:
    with pytest.raises(NotTls):
        server_name(data)


def test_two_names_are_no_name() -> None:
    data = hello("good.example.com")
    name = b"good.example.com"
    entry = b"\x00" + len(name).to_bytes(2, "big") + name
    one = len(entry).to_bytes(2, "big") + entry
    two = (2 * len(entry)).to_bytes(2, "big") + entry + entry
    assert one in data
    grown = data.replace(len(one).to_bytes(2, "big") + one, len(two).to_bytes(2, "big") + two)
    assert grown != data
    with pytest.raises(NotTls):
        server_name(_relengthened(grown, data, len(entry)))


def _relengthened(grown: bytes, data: bytes, by: int) -> bytes:
    """The same message with its outer lengths corrected."""
    body = grown[5:]
    length = int.from_bytes(body[1:4], "big") + by
    at = 4 + 2 + 32
    at += 1 + body[at]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    extensions = int.from_bytes(body[at : at + 2], "big") + by
    body = body[:1] + length.to_bytes(3, "big") + body[4:at] + extensions.to_bytes(2, "big") + body[at + 2 :]
    return data[:3] + len(body).to_bytes(2, "big") + body


@given(st.binary(max_size=400))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    for prefix in (b"", b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc"):
        try:
            found = server_name(prefix + data)
        except NotTls:
            continue
        assert found is None or found.isascii()
