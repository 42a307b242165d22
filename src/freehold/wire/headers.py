"""The headers of the API as values: betas, retry hints, rate limits, and which of them stay on this side."""

from __future__ import annotations

import email.utils
import math
from collections.abc import Iterable, Iterator, Sequence

Pairs = Sequence[tuple[bytes, bytes]]
"""Headers in the order of the wire; names in lower case."""

REQUEST_ID = b"request-id"
ANTHROPIC_VERSION = b"anthropic-version"
ANTHROPIC_BETA = b"anthropic-beta"
WORKSPACE_ID = b"anthropic-workspace-id"
USER_PROFILE_ID = b"anthropic-user-profile-id"
SHOULD_RETRY = b"x-should-retry"
RATE_LIMIT_PREFIX = b"anthropic-ratelimit-"
"""`anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`."""
RATE_LIMIT_PREFIXES = (RATE_LIMIT_PREFIX, b"anthropic-priority-", b"anthropic-fast-")
OURS_PREFIX = b"x-freehold-"

OURS = frozenset(
    {
        b"x-freehold-task-type",
        b"x-freehold-user-id",
        b"x-freehold-source",
        b"x-freehold-max-cost-usd",
        b"x-freehold-requires-reasoning",
        b"x-freehold-deadline-s",
        b"x-freehold-offload",
        b"x-freehold-fault",
    }
)
"""Request headers of our own; all removed before an upstream sees the call."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""They concern one connection, never the next one (RFC 9110 section 7.6.1)."""

MAX_BETAS = 100
"""More values than the API has; what a stranger sends beyond that is not looked at."""


def first(headers: Pairs, name: bytes) -> str | None:
    """The first value of that header, or `None`. Bytes beyond ASCII are read as Latin-1, as HTTP does."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


def every(headers: Pairs, name: bytes) -> Iterator[str]:
    """Each value of a header that may be repeated."""
    return (value.decode("latin-1") for key, value in headers if key == name)


def parse_betas(values: Iterable[str | bytes]) -> frozenset[str]:
    """The set of betas in all `anthropic-beta` headers: comma-separated, maybe repeated, maybe doubled."""
    betas: set[str] = set()
    for value in values:
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        for part in text.split(",", MAX_BETAS)[:MAX_BETAS]:
            if part.strip() and len(betas) < MAX_BETAS:
                betas.add(part.strip())
    return frozenset(betas)


def retry_after_s(headers: Pairs, now_us: int) -> float | None:
    """How long the other side asks us to wait, in seconds, never negative; `None`: it does not say, or not so that
    anyone could read it. As the SDK reads it: `retry-after-ms`, else `retry-after` in seconds or as an HTTP date.
    """
    milliseconds = _number(first(headers, b"retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = first(headers, b"retry-after")
    seconds = _number(text)
    return _seconds_until(text, now_us) if seconds is None and text else seconds


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _seconds_until(date: str, now_us: int) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(date)
        return max(0.0, moment.timestamp() - now_us / 1_000_000)
    except (ValueError, OverflowError):
        return None
