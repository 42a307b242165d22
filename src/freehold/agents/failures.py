"""What a failed model request means for its session: tried again later, or told to the person. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from freehold.errors import BillingRefused, FreeholdError, Overloaded, RateLimited

MOST_FAILURES = 6
"""Tries of one model request, each of them already tried again by the gateway for short failures."""
_FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 300.0
_TOO_LONG = re.compile(r"too long|context (window|length)|maximum context|too many tokens", re.IGNORECASE)
"""How Claude says it, and how servers of other models do."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A model request that gave no message."""

    kind: str
    """The type of the `session.error`."""
    message: str
    transient: bool
    retry_after_s: float | None = None
    too_long: bool = False
    """The model cannot take so much at once."""


def of_error(error: FreeholdError, retry_after_s: float | None = None) -> Failure:
    """Judge by the error that the Handler gave."""
    if isinstance(error, Overloaded):
        return Failure("model_overloaded_error", error.message, True, retry_after_s)
    if isinstance(error, RateLimited):
        return Failure("model_rate_limited_error", error.message, True, retry_after_s)
    if isinstance(error, BillingRefused):
        return Failure("billing_error", error.message, False)
    transient = error.status >= 500 or error.status == 408
    too_long = error.status == 413 or (error.status == 400 and _TOO_LONG.search(error.message) is not None)
    return Failure("model_request_failed_error", error.message, transient, retry_after_s, too_long)


def wait_s(failures_before: int, failure: Failure) -> float | None:
    """How long to wait before the next try, or `None`: there is none.

    Doubles from 2 s; what the upstream asks for counts if it is longer. At most five minutes, then it is tried anyway.
    """
    if not failure.transient or failures_before + 1 >= MOST_FAILURES:
        return None
    wait = _FIRST_WAIT_S * (1 << failures_before)
    return min(max(wait, failure.retry_after_s or 0.0), LONGEST_WAIT_S)
