"""The error envelope, the table of error types and HTTP statuses, and the top level of a JSON request.

The tables follow the Claude API docs, page "Errors" (read 2026-11-23), and the SDK's `_exceptions.py`. A request is
read only as far as its top-level members: each stays raw JSON, so that nothing else is parsed and every byte survives.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from freehold import errors
from freehold.errors import FreeholdError, InvalidRequest

TYPE_BY_STATUS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    412: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    499: "invalid_request_error",
    500: "api_error",
    501: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}

STATUS_BY_TYPE: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "memory_precondition_failed_error": 409,
    "memory_path_conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

_CLASS_BY_STATUS: Mapping[int, type[FreeholdError]] = {
    kind.status: kind
    for kind in (
        errors.InvalidRequest,
        errors.Unauthenticated,
        errors.BillingRefused,
        errors.PermissionDenied,
        errors.NotFound,
        errors.Conflict,
        errors.PreconditionFailed,
        errors.TooLarge,
        errors.RateLimited,
        errors.UpstreamFailed,
        errors.UpstreamTimedOut,
        errors.Unavailable,
        errors.Overloaded,
    )
}
_MAX_FOREIGN_CHARS = 500
"""Of an error body that is no envelope, this much is shown."""


def error_body(error: FreeholdError, request_id: str) -> bytes:
    """The envelope: `{"type":"error","error":{"type":…,"message":…,"details":{…}?},"request_id":"req_…"}`."""
    inner: dict[str, Any] = {"type": error.type, "message": error.message, **error.members}
    if error.details:
        inner["details"] = error.details
    return msgspec.json.encode({"type": "error", "error": inner, "request_id": request_id})


def error_of(status: int, body: bytes) -> FreeholdError:
    """The error that an HTTP error answer tells of, with its own status and type; any body will do.

    The class is the one for that status (`RateLimited` for 429 …), so that whoever catches it can tell by class.
    """
    text = body[: 4 * _MAX_FOREIGN_CHARS].decode("utf-8", "replace")[:_MAX_FOREIGN_CHARS].strip()
    return error_from(_error_member(body), status, text or f"The answer was HTTP {status} without a body.")


def error_from(inner: object, status: int | None = None, otherwise: str = "") -> FreeholdError:
    """The error that `{"type": …, "message": …, "details": …}` tells of; `otherwise` is its message if that has none.

    Without a status (an `error` event inside a stream) it is the one that goes with the type.
    """
    if isinstance(inner, str):  # `{"error": "model not found"}`: what many other servers answer
        inner = {"message": inner}
    told = inner if isinstance(inner, dict) else {}
    kind, message, details = told.get("type"), told.get("message"), told.get("details")
    if not isinstance(kind, str):
        kind = type_of(status or 500)
    return _class_for(status or STATUS_BY_TYPE.get(kind, 500), kind)(
        message if isinstance(message, str) and message else otherwise,
        details=details if isinstance(details, dict) else None,
    )


def type_of(status: int) -> str:
    """The error type that goes with an HTTP status, also with one that the table does not have."""
    return TYPE_BY_STATUS.get(status, "api_error" if status >= 500 else "invalid_request_error")


def _error_member(body: bytes) -> object:
    try:
        envelope = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return envelope.get("error") if isinstance(envelope, dict) else None


@functools.lru_cache(maxsize=64)
def _class_for(status: int, kind: str) -> type[FreeholdError]:
    base = _CLASS_BY_STATUS.get(status) or (FreeholdError if status >= 500 else InvalidRequest)
    if (base.status, base.type) == (status, kind):
        return base
    return type(base.__name__, (base,), {"status": status, "type": kind, "__doc__": base.__doc__})


# A request's top level.

MAX_MEMBERS = 1000
"""At the top level of one object. Without a limit 30 MB of `"1":1,` keep the process busy for seconds."""
_SMALL_BYTES = 16 << 10
"""Up to here the members are counted afterwards; that is cheaper than counting while reading."""

_Fields = dict[str, msgspec.Raw]
_decode_small = msgspec.json.Decoder(_Fields).decode


class _Name(str):
    """A member's name, made by our own hook so that it can count."""

    __slots__ = ()


class _Counter:
    """Breaks a decode off at the first member too many."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _: object, name: object) -> _Name:
        self.count += 1
        if self.count > MAX_MEMBERS:
            raise ValueError
        return _Name(name)


def parse_fields(body: bytes) -> dict[str, bytes]:
    """The top-level members of a JSON object, each still as raw JSON: `{"stream": b"true", …}`; 70 µs for 200 KB.

    A name that is there twice counts once, with its last value, as in nearly every JSON reader.

    Raises:
        InvalidRequest: it is not UTF-8, not JSON (with the byte where it breaks), nested too deeply, no object, or has
            more than a thousand members.
    """
    if not body.isascii():
        _check_utf8(body)
    try:
        fields = _decode_small(body) if len(body) <= _SMALL_BYTES else _decode_counting(body)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ValueError):
            raise _too_many() from None
        raise InvalidRequest("The request body must be a JSON object.") from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The request body is not valid JSON: {_spoken(str(error))}") from None
    except RecursionError:
        raise InvalidRequest("The request body is nested too deeply.") from None
    if len(fields) > MAX_MEMBERS:
        raise _too_many()
    return {name: bytes(raw) for name, raw in fields.items()}


def _decode_counting(body: bytes) -> _Fields:
    decoder = msgspec.json.Decoder(dict[_Name, msgspec.Raw], dec_hook=_Counter())
    return {str(name): raw for name, raw in decoder.decode(body).items()}


def _too_many() -> InvalidRequest:
    return InvalidRequest(f"The request body has more than {MAX_MEMBERS} members at its top level.")


def _check_utf8(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The request body is not UTF-8: invalid byte at offset {error.start}.") from None


def _spoken(complaint: str) -> str:
    """`JSON is malformed: invalid character (byte 7)` → `invalid character at byte 7.`, counted from 0."""
    found = re.fullmatch(r"JSON is malformed: (.*) \(byte (\d+)\)", complaint)
    if found is None:
        return f"{complaint}."
    late = found[1] == "trailing characters"  # of which msgspec gives the second
    return f"{found[1]} at byte {int(found[2]) - late}."


def replace_fields(body: bytes, fields: Mapping[str, bytes], changes: Mapping[str, bytes | None]) -> bytes:
    """The same JSON object with some members changed (raw JSON), added (at the end) or, with `None`, taken out.

    Every other byte stays: white space, order, spelling of numbers and escapes; what is taken out takes the comma and
    the white space before it along. Of a name that is there twice, a change replaces the last and takes out the others,
    so that no reader can see the old value. `fields` is what `parse_fields` gave for this very body; it saves the
    search for where each value ends.
    """
    members = list(_members(body, fields))
    last = {member.name: index for index, member in enumerate(members)}
    view = memoryview(body)
    kept: list[bytes | memoryview] = []
    before = 0
    for index, member in enumerate(members):
        start = before if kept else member.start
        before = member.end
        if member.name not in changes:
            kept.append(view[start : member.end])
            continue
        change = changes[member.name]
        if change is not None and last[member.name] == index:
            kept += (view[start : member.value_start], change)
    for name, change in changes.items():
        if name not in last and change is not None:
            kept += (b"," if kept else b"", msgspec.json.encode(name), b":", change)
    brace = body.index(b"{") + 1
    head, tail = (members[0].start, members[-1].end) if members else (brace, brace)
    return b"".join((view[:head], *kept, view[tail:]))


class _Member(NamedTuple):
    name: str
    start: int
    value_start: int
    end: int


_NAME = re.compile(rb'[ \t\r\n,]*("(?:[^"\\]|\\.)*+")[ \t\r\n]*:[ \t\r\n]*')
_AFTER_VALUE = b",} \t\r\n"
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_SCALAR = re.compile(rb'"(?:[^"\\]|\\.)*+"|[^,}\s]+', re.DOTALL)


def _members(body: bytes, fields: Mapping[str, bytes]) -> Iterator[_Member]:
    """Where each top-level member of a valid JSON object stands."""
    at = body.index(b"{") + 1
    while found := _NAME.match(body, at):
        name = msgspec.json.decode(found[1], type=str)
        at = _value_end(body, found.end(), fields.get(name, b""))
        yield _Member(name, found.start(1), found.end(), at)


def _value_end(body: bytes, start: int, likely: bytes) -> int:
    end = start + len(likely)
    if likely and body.startswith(likely, start) and body[end] in _AFTER_VALUE:
        return end
    if body[start] not in b"[{":
        scalar = _SCALAR.match(body, start)
        return scalar.end() if scalar else start
    depth = 0
    for token in _STRUCTURE.finditer(body, start):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    return len(body)
