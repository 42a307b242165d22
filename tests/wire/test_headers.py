"""Headers as values."""

from __future__ import annotations

import pytest

from freehold.wire.headers import HOP_BY_HOP, OURS, OURS_PREFIX, every, first, parse_betas, retry_after_s

NOW_US = 1_795_413_600_000_000  # Mon, 23 Nov 2026 06:00:00 GMT


def test_the_first_value_of_a_header_counts() -> None:
    headers = [(b"a", b"1"), (b"b", b"\xe9"), (b"a", b"2")]
    assert (first(headers, b"a"), first(headers, b"b"), first(headers, b"c")) == ("1", "é", None)
    assert list(every(headers, b"a")) == ["1", "2"]


def test_betas_of_all_headers_are_one_set() -> None:
    values: list[str | bytes] = [
        "computer-use-2024-10-22,managed-agents-2026-04-01",
        b" unknown-2030-01-01 , managed-agents-2026-04-01,,",
    ]
    assert parse_betas(values) == {"computer-use-2024-10-22", "managed-agents-2026-04-01", "unknown-2030-01-01"}
    assert parse_betas([]) == frozenset()


def test_a_flood_of_betas_is_cut() -> None:
    assert len(parse_betas([",".join(map(str, range(10**5)))])) <= 100
    assert len(parse_betas([str(number) for number in range(10**4)])) <= 100


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([(b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b"1.5")], 1.5),
        ([(b"retry-after-ms", b"250"), (b"retry-after", b"7")], 0.25),
        ([(b"retry-after-ms", b"soon"), (b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b"Mon, 23 Nov 2026 06:00:30 GMT")], 30.0),
        ([(b"retry-after", b"Mon, 23 Nov 2026 05:00:00 GMT")], 0.0),
        ([(b"retry-after", b"-3")], 0.0),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"1e999")], None),
        ([(b"retry-after", b"in a while")], None),
        ([(b"retry-after", b"")], None),
        ([], None),
    ],
)
def test_the_wish_to_wait_is_read_in_every_form(headers: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW_US) == seconds


def test_names_are_in_lower_case_and_ours_carry_our_prefix() -> None:
    assert all(name == name.lower() for name in OURS | HOP_BY_HOP)
    assert all(name.startswith(OURS_PREFIX) for name in OURS)
