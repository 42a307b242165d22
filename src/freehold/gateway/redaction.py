"""What of a call is never written down: credentials, by the header or the field they stand in, and by their look. Pure.

A prompt may hold any secret; what looks like a key of a well-known kind is taken out, nothing more is promised.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

REMOVED = b"[removed]"
_KEPT_NAMES = frozenset(
    {b"accept", b"content-type", b"user-agent", b"x-request-source", b"traceparent", b"request-id", b"retry-after"}
)
_KEPT_PREFIXES = (b"anthropic-", b"x-freehold-", b"x-stainless-", b"x-should-retry", b"retry-after-")
_WORD = rb"(?<![A-Za-z0-9+/_-])"
"""Not in the middle of something longer, such as an image in base64."""
_KINDS: tuple[tuple[bytes, re.Pattern[bytes]], ...] = tuple(
    (sign, re.compile(pattern))
    for sign, pattern in (
        (b"sk-", rb"sk-[A-Za-z0-9_-]{16,}"),  # Anthropic's, ours, and many another's
        (b"AKIA", _WORD + rb"AKIA[0-9A-Z]{16}"),
        (b"ASIA", _WORD + rb"ASIA[0-9A-Z]{16}"),
        (b"gh", rb"gh[pousr]_[A-Za-z0-9]{30,}"),
        (b"github_pat_", rb"github_pat_[A-Za-z0-9_]{30,}"),
        (b"xox", rb"xox[abeprs]-[A-Za-z0-9-]{10,}"),
        (b"AIza", _WORD + rb"AIza[0-9A-Za-z_-]{35}"),
        (b".eyJ", _WORD + rb"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),  # a signed token (JWT)
        (
            b"PRIVATE KEY-----",
            rb"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[^-]{1,16384}-----END [A-Z ]{0,20}PRIVATE KEY-----",
        ),
    )
)
"""A sign that is quick to look for, and the whole: megabytes are searched by a pattern only where they must be."""
_FIELDS: tuple[tuple[bytes, re.Pattern[bytes]], ...] = tuple(
    (b'"%b"' % name, re.compile(rb'("%b"\s*+:\s*+")(?:[^"\\]++|\\.)++(?:"|\\?\Z)' % name, re.DOTALL))
    for name in (b"authorization_token", b"access_token", b"refresh_token", b"client_secret", b"api_key", b"password")
)


def redacted(body: bytes) -> tuple[bytes, int]:
    """The same without what looks like a credential, and how many were taken out. JSON stays JSON."""
    removed = 0
    for sign, pattern in _FIELDS:
        if sign in body:
            body, count = pattern.subn(rb"\1" + REMOVED + b'"', body)
            removed += count
    for sign, pattern in _KINDS:
        if sign in body:
            body, count = pattern.subn(REMOVED, body)
            removed += count
    return body, removed


def safe_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[list[str]]:
    """Those that are known to be harmless and of use; names and values as text."""
    return [
        [name.decode("latin-1"), redacted(value)[0].decode("latin-1")]
        for name, value in headers
        if name in _KEPT_NAMES or name.startswith(_KEPT_PREFIXES)
    ]
