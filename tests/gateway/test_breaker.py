"""The circuit breaker: when an upstream is left alone, and when it is asked again."""

from __future__ import annotations

from freehold.gateway.breaker import Breaker

SECOND = 10**9


def broken() -> Breaker:
    breaker = Breaker(failures=3, cool_down_s=30)
    for _ in range(3):
        breaker.enter()
        breaker.failed(0)
    return breaker


def test_single_failures_open_nothing() -> None:
    breaker = Breaker(failures=2, cool_down_s=30)
    for _ in range(5):
        breaker.failed(0)
        breaker.succeeded()
    assert breaker.admits(0)


def test_after_so_many_failures_it_is_left_alone_for_the_cool_down() -> None:
    breaker = broken()
    assert not breaker.admits(29 * SECOND)
    assert breaker.left_s(10 * SECOND) == 20
    assert breaker.admits(30 * SECOND)


def test_one_probe_at_a_time_and_its_success_closes_it() -> None:
    breaker = broken()
    breaker.enter()
    assert not breaker.admits(31 * SECOND)
    breaker.succeeded()
    assert breaker.admits(31 * SECOND)


def test_a_probe_that_fails_begins_a_new_cool_down() -> None:
    breaker = broken()
    breaker.enter()
    breaker.failed(31 * SECOND)
    assert not breaker.admits(60 * SECOND)
    assert breaker.admits(61 * SECOND)


def test_a_probe_whose_client_left_leaves_room_for_the_next_one() -> None:
    breaker = broken()
    breaker.enter()
    breaker.told_nothing()
    assert breaker.admits(31 * SECOND)
