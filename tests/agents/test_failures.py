"""What a failed model request means: which are tried again, how long after, and when it is enough."""

from __future__ import annotations

import pytest

from freehold.agents.failures import LONGEST_WAIT_S, MOST_FAILURES, Failure, of_error, wait_s
from freehold.errors import (
    BillingRefused,
    FreeholdError,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    Unauthenticated,
    UpstreamFailed,
    UpstreamTimedOut,
)


@pytest.mark.parametrize(
    ("error", "kind", "transient"),
    [
        (Overloaded(), "model_overloaded_error", True),
        (RateLimited(), "model_rate_limited_error", True),
        (UpstreamFailed(), "model_request_failed_error", True),
        (UpstreamTimedOut(), "model_request_failed_error", True),
        (BillingRefused(), "billing_error", False),
        (InvalidRequest(), "model_request_failed_error", False),
        (Unauthenticated(), "model_request_failed_error", False),
        (PermissionDenied(), "model_request_failed_error", False),
        (NotFound(), "model_request_failed_error", False),
    ],
)
def test_only_what_may_pass_is_tried_again(error: FreeholdError, kind: str, transient: bool) -> None:
    failure = of_error(error)
    assert (failure.kind, failure.transient) == (kind, transient)
    assert (wait_s(0, failure) is not None) == transient


def test_waits_double_and_end() -> None:
    failure = Failure("model_overloaded_error", "busy", True)
    waits = [wait_s(before, failure) for before in range(MOST_FAILURES)]
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, None]


def test_the_upstreams_own_word_counts_if_it_is_longer_but_not_for_ever() -> None:
    assert wait_s(0, Failure("model_rate_limited_error", "", True, 20.0)) == 20.0
    assert wait_s(3, Failure("model_rate_limited_error", "", True, 1.0)) == 16.0
    assert wait_s(0, Failure("model_rate_limited_error", "", True, 86_400.0)) == LONGEST_WAIT_S
