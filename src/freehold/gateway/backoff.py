"""When to try again, as arithmetic: a failure goes in, a wait or a refusal comes out. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass

from freehold.calls import Headers
from freehold.config import setting
from freehold.wire.headers import SHOULD_RETRY, first, retry_after_s

RETRYABLE = frozenset({408, 429, 500, 502, 503, 504, 529})
"""Statuses that may be better next time; 409 is deterministic on Messages, so it is handed on."""


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """How often and how patiently a failed attempt is made again, before anything was handed on."""

    max_retries: int = setting(
        2, "attempts after the first one, at the same upstream, of a call without a deadline; 0: none of any call"
    )
    retry_for_s: float = setting(
        0.0,
        "how long a call without a deadline is tried, by time instead of by `max_retries`; 0: by count",
        unit="s",
    )
    retry_base_s: float = setting(
        0.5, "the first back-off is a random time up to this, each next one up to twice", unit="s"
    )
    retry_cap_s: float = setting(8.0, "no back-off of our own is longer", unit="s")
    retry_wait_max_s: float = setting(
        60.0, "a `retry-after` beyond this is waited for only if it fits the call's deadline", unit="s"
    )
    retry_budget: int = setting(
        100, "retries that one upstream gets in a row at most, from all calls together; 0: no bound"
    )
    retry_share: float = setting(0.2, "how much of a retry each answered call adds to that budget again")
    hold_ms: int = setting(
        300, "how long the start of a stream is held back so that an early error can be retried unseen", unit="ms"
    )


def wait_s(
    settings: RetrySettings,
    retry: int,
    chance: float,
    headers: Headers,
    now_us: int,
    left_s: float | None,
    *,
    by_deadline: bool = False,
) -> float | None:
    """Seconds before the next attempt; `None`: do not try again.

    `retry` counts from 0, `chance` is random in 0…1 (full jitter), `headers` those of the failed answer, `left_s` the
    time until the caller's deadline. `by_deadline`: the caller has said until when it waits, so that time alone bounds
    the attempts and each wait.
    """
    if retry >= settings.max_retries and not (by_deadline and settings.max_retries):
        return None
    backoff_s = chance * min(settings.retry_cap_s, settings.retry_base_s * 2 ** min(retry, 30))
    wait = retry_after_s(headers, now_us) or backoff_s
    if (wait > settings.retry_wait_max_s and not by_deadline) or (left_s is not None and wait >= left_s):
        return None
    return wait


def is_retryable(status: int, headers: Headers) -> bool:
    """Whether an answer with this status is worth another attempt; `x-should-retry` has the last word."""
    said = first(headers, SHOULD_RETRY)
    if said in ("true", "false"):
        return said == "true"
    return status in RETRYABLE
