"""Headers that come again: worked out once, and never taken for others."""

from __future__ import annotations

from freehold.wire.repeated import Headers, Repeated, once

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
