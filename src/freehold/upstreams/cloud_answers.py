"""What clouds answer in their own words, in Claude's: headers, error bodies, errors inside a stream. Pure."""

from __future__ import annotations

import msgspec

from freehold.calls import Headers
from freehold.errors import FreeholdError
from freehold.wire.envelopes import error_body, error_from, error_of
from freehold.wire.frames import frame
from freehold.wire.headers import REQUEST_ID

_REQUEST_IDS = (b"x-amzn-requestid", b"apim-request-id")
_TYPES = {
    # Amazon Bedrock, InvokeModelWithResponseStream, the exceptions inside a stream.
    "throttlingexception": "rate_limit_error",
    "serviceunavailableexception": "overloaded_error",
    "modeltimeoutexception": "timeout_error",
    "validationexception": "invalid_request_error",
    "internalserverexception": "api_error",
    "modelstreamerrorexception": "api_error",
}


def claude_headers(headers: Headers) -> Headers:
    """The cloud's request id under Claude's name too, and the type of a stream as it leaves here."""
    found = dict(headers)
    kept = [
        (name, b"text/event-stream; charset=utf-8" if _is_aws_stream(name, value) else value) for name, value in headers
    ]
    if REQUEST_ID not in found:
        kept += [(REQUEST_ID, found[name]) for name in _REQUEST_IDS if name in found][:1]
    return kept


def claude_error(status: int, body: bytes, request_id: str) -> bytes:
    """Claude's envelope; one that is there already stays as it came."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        value = None
    if isinstance(value, dict) and value.get("type") == "error":
        return body
    error = error_of(status, body)
    if isinstance(value, dict) and isinstance(value.get("message"), str):  # AWS: {"message": "…"}
        error = error_from({"message": value["message"]}, status)
    return error_body(error, request_id)


def event_of(name: str | None, data: str, request_id: str) -> bytes:
    """One event as Claude would send it."""
    if name == "error":
        return frame("error", _stream_error(data, request_id))
    return frame(name or "", data.encode())


def _stream_error(data: str, request_id: str) -> bytes:
    told = msgspec.json.decode(data).get("error") or {}
    kind = str(told.get("type") or "")
    message = str(told.get("message") or "The upstream failed in the middle of its answer.")
    error: FreeholdError = error_from({"type": _TYPES.get(kind.lower(), kind or "api_error"), "message": message})
    return error_body(error, request_id)


def _is_aws_stream(name: bytes, value: bytes) -> bool:
    return name == b"content-type" and value.startswith(b"application/vnd.amazon.eventstream")
