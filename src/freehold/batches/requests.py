"""From the params of an item to a call: what batches do not take is refused here, the rest the upstream judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from freehold.calls import Call, Caller, Headers
from freehold.errors import InvalidRequest
from freehold.wire.envelopes import parse_fields

NOT_IN_BATCHES = ("speed", "thread", "fallbacks")
"""Claude API docs, page "Batch processing", read 2026-11-23; further `stream` and a `max_tokens` of 0."""
_NOTHING = (b"null", b"[]")


@dataclass(frozen=True, slots=True)
class For:
    """Whom the calls of one batch are for: the same for each of its items."""

    batch_id: str
    caller: Caller
    headers: Headers
    user_id: str | None
    task_type: str | None
    source: str | None


def call_of(params: bytes, made_for: For, *, request_id: str, started_ns: int) -> Call:
    """The call of these params.

    Raises:
        InvalidRequest: it is no call, or asks for what is not taken in batches.
    """
    fields = check(params)
    return Call(
        request_id,
        "messages",
        params,
        fields,
        made_for.headers,
        _model(fields),
        False,
        started_ns,
        caller=made_for.caller,
        user_id=made_for.user_id or _user_id(fields),
        task_type=made_for.task_type,
        source=made_for.source,
        batch_id=made_for.batch_id,
    )


def check(params: bytes) -> Mapping[str, bytes]:
    """The top-level members of params that a batch may have.

    Raises:
        InvalidRequest: names the field that it may not have, or that is missing.
    """
    fields = parse_fields(params)
    if fields.get("stream", b"false") not in (b"false", b"null"):
        raise InvalidRequest("stream: is not taken in a message batch.")
    for name in NOT_IN_BATCHES:
        if fields.get(name, b"null") not in _NOTHING:
            raise InvalidRequest(f"{name}: is not taken in a message batch.")
    if fields.get("max_tokens") == b"0":
        raise InvalidRequest("max_tokens: 0 is not taken in a message batch.")
    for name in ("model", "messages"):
        if name not in fields:
            raise InvalidRequest(f"{name}: Field required.")
    _model(fields)
    return fields


def _model(fields: Mapping[str, bytes]) -> str:
    try:
        return msgspec.json.decode(fields["model"], type=str)
    except msgspec.MsgspecError:
        raise InvalidRequest("model: must be a string.") from None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


def _user_id(fields: Mapping[str, bytes]) -> str | None:
    if "metadata" not in fields:
        return None
    try:
        return msgspec.json.decode(fields["metadata"], type=_Metadata).user_id
    except msgspec.MsgspecError:
        return None
