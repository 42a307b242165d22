"""Searching large bodies finds what Python's own search finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.wire.search import contains

SIGN = b'"file_id"'


@pytest.mark.parametrize("size", [0, 100, 4095, 4096, 300_000])
@pytest.mark.parametrize("filling", [b"x", b"\0", b'"file_i', b'"'])
def test_it_is_found_wherever_it_stands_and_only_there(size: int, filling: bytes) -> None:
    body = (filling * size)[:size]
    assert not contains(body, SIGN)
    for at in {0, size // 2, size}:
        assert contains(body[:at] + SIGN + body[at:], SIGN)
        assert not contains(body[:at] + SIGN[:-1], SIGN)


@given(st.binary(max_size=9), st.binary(min_size=1, max_size=3))
def test_it_agrees_with_python(text: bytes, sign: bytes) -> None:
    body = text * 2000
    assert contains(body, sign) == (sign in body)
