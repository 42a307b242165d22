"""The arithmetic of trying again."""

from __future__ import annotations

import pytest

from freehold.calls import Headers
from freehold.gateway.backoff import RetrySettings, is_retryable, wait_s
from freehold.gateway.retry_budget import RetryBudget

SETTINGS = RetrySettings(max_retries=3, retry_base_s=1.0, retry_cap_s=3.0, retry_wait_max_s=60)


@pytest.mark.parametrize(
    ("retry", "chance", "seconds"),
    [(0, 0.0, 0), (0, 1.0, 1), (1, 1.0, 2), (1, 0.25, 0.5), (2, 1.0, 3), (3, 0.5, None), (9, 0.5, None)],
)
def test_the_back_off_doubles_under_its_cap_with_full_jitter(retry: int, chance: float, seconds: float | None) -> None:
    assert wait_s(SETTINGS, retry, chance, [], 0, None) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([(b"retry-after", b"7")], 7),
        ([(b"retry-after", b"60")], 60),
        ([(b"retry-after", b"60.5")], None),
        ([(b"retry-after", b"7"), (b"retry-after-ms", b"250")], 0.25),
        ([(b"retry-after", b"Thu, 01 Jan 1970 00:00:09 GMT")], 9),
        ([(b"retry-after", b"soon")], 0.5),
        ([(b"retry-after", b"0")], 0.5),
        ([(b"retry-after", b"-1")], 0.5),
    ],
)
def test_what_the_upstream_asks_for_goes_before_our_own_back_off(headers: Headers, seconds: float | None) -> None:
    assert wait_s(SETTINGS, 0, 0.5, headers, 0, None) == seconds


def test_a_wait_must_end_before_the_deadline() -> None:
    seven = [(b"retry-after", b"7")]
    assert wait_s(SETTINGS, 0, 0.5, seven, 0, 7.1) == 7
    assert wait_s(SETTINGS, 0, 0.5, seven, 0, 7.0) is None
    assert wait_s(SETTINGS, 0, 0.5, [], 0, -1.0) is None


def test_a_deadline_bounds_the_attempts_and_the_waits_instead_of_their_number() -> None:
    late = [(b"retry-after", b"90")]
    assert wait_s(SETTINGS, 0, 0.5, late, 0, 100.0) is None
    assert wait_s(SETTINGS, 0, 0.5, late, 0, 100.0, by_deadline=True) == 90
    assert wait_s(SETTINGS, 0, 0.5, late, 0, 80.0, by_deadline=True) is None
    assert wait_s(SETTINGS, 1000, 1.0, [], 0, 100.0, by_deadline=True) == 3
    assert wait_s(RetrySettings(max_retries=0), 0, 1.0, [], 0, 100.0, by_deadline=True) is None


def test_a_retry_budget_is_emptied_by_retries_and_filled_by_answers() -> None:
    budget = RetryBudget(2, 0.25)
    assert [budget.take() for _ in range(3)] == [True, True, False]
    for _ in range(4):
        assert not budget.take()
        budget.answered()
    assert [budget.take(), budget.take()] == [True, False]
    for _ in range(100):
        budget.answered()
    assert budget.level == 2
    assert all(RetryBudget(0, 0).take() for _ in range(1000))


@pytest.mark.parametrize(
    ("status", "said", "again"),
    [(529, None, True), (529, b"false", False), (400, b"true", True), (400, None, False), (409, None, False),
     (429, b"maybe", True)],
)  # fmt: skip
def test_the_upstreams_word_goes_before_the_status(status: int, said: bytes | None, again: bool) -> None:
    assert is_retryable(status, [(b"x-should-retry", said)] if said else []) is again
