"""From what a client sent to a Call: only what the gateway needs is read, the rest is the upstream's to judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from freehold.calls import Call, Headers, Route
from freehold.errors import FreeholdError, InvalidRequest
from freehold.money import nanodollars
from freehold.wire.envelopes import parse_fields
from freehold.wire.headers import OURS_PREFIX
from freehold.wire.repeated import once

MOST_USER_ID_CHARS = 256
MOST_TASK_TYPE_CHARS = 64
MOST_SOURCE_CHARS = 128
LONGEST_DEADLINE_S = 86_400.0
_SOURCE = b"x-request-source"
_ENCODING = b"content-encoding"
_DEADLINE = b"x-freehold-deadline-s"
_SIMULATOR_ONLY = b"x-freehold-fault"
_decode_text = msgspec.json.Decoder(str).decode
_decode_flag = msgspec.json.Decoder(bool).decode


def read_call(
    route: Route, body: bytes, headers: Headers, *, query: bytes = b"", request_id: str, started_ns: int
) -> Call:
    """A Call of these bytes. What makes it impossible is set as `refused` and raised once its key is known."""
    call = Call(request_id, route, body, {}, headers, "", False, started_ns, query=query)
    try:
        if once(headers, _tell_us_something):
            _read_headers(call)
        _read_body(call)
    except FreeholdError as error:
        call.refused = error
    return call


def refused_call(route: Route, headers: Headers, error: FreeholdError, *, request_id: str, started_ns: int) -> Call:
    """A Call whose body could not be taken: it goes through the pipeline to be recorded and refused."""
    return Call(request_id, route, b"", {}, headers, "", False, started_ns, refused=error)


def _read_body(call: Call) -> None:
    call.fields = fields = parse_fields(call.body)
    call.model = _model(fields)
    if call.route == "messages":
        call.stream = _stream(fields)
    if "messages" not in fields:
        raise InvalidRequest("messages: Field required.")
    if call.user_id is None and "metadata" in fields:
        call.user_id = _user_id(fields["metadata"])


def _model(fields: Mapping[str, bytes]) -> str:
    if "model" not in fields:
        raise InvalidRequest("model: Field required.")
    try:
        model = _decode_text(fields["model"])
    except msgspec.MsgspecError:
        raise InvalidRequest("model: must be a string.") from None
    if not model:
        raise InvalidRequest("model: must not be empty.")
    return model


def _stream(fields: Mapping[str, bytes]) -> bool:
    raw = fields.get("stream", b"false")
    if raw == b"true":
        return True
    if raw in (b"false", b"null"):
        return False
    raise InvalidRequest("stream: must be true or false.")


def _user_id(metadata: bytes) -> str | None:
    """Whatever is wrong with `metadata` the upstream will say."""
    try:
        value: Any = msgspec.json.decode(metadata)
    except msgspec.MsgspecError:
        return None
    user_id = value.get("user_id") if isinstance(value, dict) else None
    return user_id if isinstance(user_id, str) else None


def _tell_us_something(headers: Headers) -> bool:
    return any(name[:11] == OURS_PREFIX or name in (_SOURCE, _ENCODING) for name, _ in headers)


def _read_headers(call: Call) -> None:
    fallback_source = None
    for name, value in call.headers:
        if name[:11] == OURS_PREFIX:
            _read_own(call, name, value)
        elif name == _SOURCE:
            fallback_source = _text(name, value, MOST_SOURCE_CHARS)
        elif name == _ENCODING and value.lower() != b"identity":
            raise InvalidRequest(
                "content-encoding: a compressed body is not taken here. Send it as it is.",
                details={"error_code": "request_body_encoding_unsupported"},
            )
    call.source = call.source or fallback_source


def _read_own(call: Call, name: bytes, value: bytes) -> None:
    if name == b"x-freehold-task-type":
        call.task_type = _text(name, value, MOST_TASK_TYPE_CHARS)
    elif name == b"x-freehold-user-id":
        call.user_id = _text(name, value, MOST_USER_ID_CHARS)
    elif name == b"x-freehold-source":
        call.source = _text(name, value, MOST_SOURCE_CHARS)
    elif name == _DEADLINE:
        call.deadline_ns = call.started_ns + round(_seconds(name, value) * 1e9)
    elif name == b"x-freehold-max-cost-usd":
        call.max_cost_nanodollars = _dollars(name, value)
    elif name == b"x-freehold-requires-reasoning":
        call.requires_reasoning = _flag(name, value)
    elif name == b"x-freehold-offload":
        call.notes["offload"] = _offload(name, value)
    elif name != _SIMULATOR_ONLY:
        raise InvalidRequest(f"{name.decode('latin-1')[:80]}: there is no such header of Freehold.")


def _offload(name: bytes, value: bytes) -> str:
    if value != b"batch":
        raise InvalidRequest(f"{name.decode()}: must be `batch`.")
    return "batch"


def _seconds(name: bytes, value: bytes) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_DEADLINE_S:
        raise InvalidRequest(f"{name.decode()}: must be a number of seconds, more than 0 and at most 86400.")
    return seconds


def _dollars(name: bytes, value: bytes) -> int:
    try:
        amount = nanodollars(value.decode("ascii").strip())
    except ValueError:
        amount = -1
    if not 0 <= amount < 10**18:
        raise InvalidRequest(f"{name.decode()}: must be an amount of dollars such as 0.05, with nine decimals at most.")
    return amount


def _flag(name: bytes, value: bytes) -> bool:
    if value.lower() not in (b"true", b"false", b"1", b"0"):
        raise InvalidRequest(f"{name.decode()}: must be true or false.")
    return value.lower() in (b"true", b"1")


def _text(name: bytes, value: bytes, most: int) -> str:
    text = value.decode("utf-8", "replace")
    if len(text) > most:
        raise InvalidRequest(f"{name.decode()}: has {len(text)} characters; at most {most} are taken.")
    return text
