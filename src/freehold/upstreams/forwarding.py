"""Which headers cross from a client to an upstream and back. Bytes of bodies are not looked at here."""

from __future__ import annotations

from collections.abc import Iterable

from freehold.calls import Headers
from freehold.errors import InvalidRequest
from freehold.wire.headers import HOP_BY_HOP, OURS_PREFIX
from freehold.wire.repeated import once

_STAY_HERE = HOP_BY_HOP | {
    b"accept-encoding",  # we read the answer, so it must not be compressed
    b"authorization",
    b"content-encoding",
    b"content-length",
    b"cookie",
    b"expect",
    b"host",
    b"x-api-key",
}
"""Of a request: what concerns this connection, and the client's credentials, which are ours and not the upstream's."""
_STAY_THERE = HOP_BY_HOP | {
    b"alt-svc",
    b"content-length",
    b"date",
    b"nel",
    b"report-to",
    b"server",
    b"set-cookie",
    b"strict-transport-security",
}
"""Of an answer: what concerns the upstream's connection, host or cookie jar."""
_DEFAULTS = ((b"anthropic-version", b"2023-06-01"), (b"content-type", b"application/json"))
"""What the API requires and a call made in process may not have."""


def request_head(line: bytes, own: bytes, headers: Headers, body_bytes: int) -> bytes:
    """The head of a request: `line`, our `own` header lines, then the client's, with the body's length.

    Raises:
        InvalidRequest: a header holds a line break, which would begin another one.
    """
    return b"%b%b%b\r\ncontent-length: %d\r\n\r\n" % (line, own, once(headers, _forwarded), body_bytes)


def _forwarded(headers: Headers) -> bytes:
    """The lines of these headers that cross, and what the API requires, without the last line's end."""
    there = dict(headers)
    kept = [b": ".join(pair) for pair in headers if pair[0] not in _STAY_HERE and pair[0][:11] != OURS_PREFIX]
    if b"connection" in there:
        kept = _without_named(kept, headers)
    for pair in _DEFAULTS:
        if pair[0] not in there:
            kept.append(b": ".join(pair))
    lines = b"\r\n".join(kept)
    if lines.count(b"\n") >= len(kept):
        raise InvalidRequest("A header of this request holds a line break.")
    return lines


def answer_headers(headers: Headers) -> Headers:
    """What of an upstream's answer the client gets: rate limits, request-id, retry hints and all that is unknown."""
    return [pair for pair in headers if pair[0] not in _STAY_THERE]


def _without_named(lines: Iterable[bytes], headers: Headers) -> list[bytes]:
    """`Connection: x-foo` makes `x-foo` a header of that connection only (RFC 9110 section 7.6.1)."""
    value = b",".join(value for name, value in headers if name == b"connection").lower()
    named = {part.strip() for part in value.split(b",")}
    return [line for line in lines if line.partition(b":")[0] not in named]
