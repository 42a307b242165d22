"""Buckets per minute: what refills, what is told, and what is only known afterwards."""

from __future__ import annotations

from freehold.gateway.buckets import Allowance, Bucket, Lack, Scope, headers_of

SECOND = 10**9


def test_what_was_taken_comes_back_over_a_minute() -> None:
    scope = Scope("key", Allowance(requests_per_minute=2), 0)
    for _ in range(2):
        assert scope.has_room(0, 0)
        scope.take(0)
    assert not scope.has_room(0, 0)
    assert scope.lack(0) == Lack("2 requests per minute of this key", 30.0)
    assert scope.has_room(0, 30 * SECOND)


def test_a_request_larger_than_its_limit_waits_for_a_full_bucket_and_goes() -> None:
    scope = Scope("key", Allowance(input_tokens_per_minute=600), 0)
    assert scope.has_room(5_000, 0)
    scope.take(5_000)
    assert not scope.has_room(10, 0)
    assert scope.lack(10).wait_s == 1.0


def test_the_true_use_replaces_the_estimate() -> None:
    scope = Scope("key", Allowance(input_tokens_per_minute=600, output_tokens_per_minute=60), 0)
    scope.take(300)
    scope.settle(300, 100, 90)
    told: dict[str, Bucket] = {}
    scope.tell(told)
    assert {kind: bucket.level for kind, bucket in told.items()} == {"input-tokens": 500.0, "output-tokens": -30.0}
    assert not scope.has_room(1, 0)  # more came out than was allowed: it has to recover
    assert scope.lack(1).wait_s == 31.0


def test_calls_at_a_time_are_lacking_only_where_nothing_else_is() -> None:
    scope = Scope("key", Allowance(requests_per_minute=60, concurrency=1), 0)
    scope.take(0)
    assert not scope.has_room(0, 0)
    assert scope.lack(0) == Lack("1 calls at a time of this key", None)


def test_the_scope_with_less_left_is_told_and_never_below_zero() -> None:
    key, workspace = (Scope("key", Allowance(requests_per_minute=n), 0) for n in (10, 4))
    for scope in (key, workspace):
        scope.take(0)
    told: dict[str, Bucket] = {}
    for scope in (key, workspace):
        scope.tell(told)
    assert headers_of(told, 1_767_225_600_000_000) == [
        (b"anthropic-ratelimit-requests-limit", b"4"),
        (b"anthropic-ratelimit-requests-remaining", b"3"),
        (b"anthropic-ratelimit-requests-reset", b"2026-01-01T00:00:15Z"),
    ]
