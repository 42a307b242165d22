"""Heads that come again: worked out once, and never taken for others."""

from __future__ import annotations

import pytest

from freehold.wire.repeated import Headers, Repeated, once
from freehold.wire.same_head import SameHead

HEADERS: Headers = [(b"host", b"x"), (b"x-api-key", b"one")]


def test_work_on_headers_that_come_again_is_done_once() -> None:
    done: list[Headers] = []

    def count(headers: Headers) -> int:
        done.append(headers)
        return len(headers)

    known = Repeated(HEADERS)
    assert [once(known, count), once(known, count)] == [2, 2]
    assert len(done) == 1
    assert [once(HEADERS, count), once(HEADERS, count)] == [2, 2]
    assert len(done) == 3, "headers that are not known to come again are looked at each time"


def test_headers_that_differ_anywhere_are_others() -> None:
    known = Repeated(HEADERS)
    assert known.are(list(HEADERS))
    assert not known.are([(b"host", b"x"), (b"x-api-key", b"two")])
    assert not known.are(list(reversed(HEADERS)))
    assert not known.are(HEADERS[:1])
    assert not known.are([*HEADERS, (b"expect", b"100-continue")])


def head(length: object, key: str = "one", more: str = "") -> bytes:
    return f"POST /x HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nContent-Length: {length}\r\n{more}\r\n".encode()


def test_the_same_head_is_known_again_whatever_its_length_says() -> None:
    same = SameHead.of(head(2) + b"{}")
    assert same is not None
    for body in (b"{}", b"", b"x" * 1234):
        assert same.body_of(head(len(body)) + body) == body


@pytest.mark.parametrize(
    "data",
    [
        head(2) + b"{",
        head(2) + b"{}x",
        head(2, key="two") + b"{}",
        head(2, more="expect: 100-continue\r\n") + b"{}",
        head("+2") + b"{}",
        head("2 ") + b"{}",
        head("2\n") + b"{}",
        head("") + b"{}",
        head("\u00b2") + b"{}",
        head("0" * 40 + "2") + b"{}",
        head(2)[:-1],
        head(2).replace(b"Content-Length", b"content-length") + b"{}",
        b"",
    ],
)
def test_what_differs_from_a_head_in_any_byte_but_its_length_is_another(data: bytes) -> None:
    same = SameHead.of(head(2) + b"{}")
    assert same is not None
    assert same.body_of(data) is None


def test_a_head_that_is_not_all_here_or_tells_no_length_is_not_kept() -> None:
    assert SameHead.of(head(2)[:-2]) is None
    assert SameHead.of(b"POST /x HTTP/1.1\r\nhost: x\r\n\r\ncontent-length: 2\r\n\r\n") is None
