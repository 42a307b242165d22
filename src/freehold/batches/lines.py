"""Lines of a batch's results, as bytes. What an upstream answered stands in them as it came."""

from __future__ import annotations

import msgspec

from freehold.errors import FreeholdError
from freehold.wire.envelopes import error_body, error_of


def succeeded(custom_id: str, message: bytes) -> bytes:
    """`{"custom_id":…,"result":{"type":"succeeded","message":…}}`, without a line break."""
    return b'{"custom_id":"%b","result":{"type":"succeeded","message":%b}}' % (custom_id.encode(), _one_line(message))


def errored(custom_id: str, envelope: bytes) -> bytes:
    """`envelope` is `{"type":"error","error":{…},"request_id":…}`."""
    return b'{"custom_id":"%b","result":{"type":"errored","error":%b}}' % (custom_id.encode(), _one_line(envelope))


def unfinished(custom_id: str, state: str) -> bytes:
    """`canceled` or `expired`."""
    return b'{"custom_id":"%b","result":{"type":"%b"}}' % (custom_id.encode(), state.encode())


def refused(custom_id: str, error: FreeholdError, request_id: str) -> bytes:
    """The line of an item that we refuse ourselves."""
    return errored(custom_id, error_body(error, request_id))


def answered_with_error(custom_id: str, status: int, body: bytes, request_id: str) -> bytes:
    """The line of an item that the upstream refused: its own envelope, or what we make of something else."""
    try:
        kind = msgspec.json.decode(body, type=_Kind).type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        kind = ""
    return errored(custom_id, body) if kind == "error" else refused(custom_id, error_of(status, body), request_id)


class _Kind(msgspec.Struct):
    type: str = ""


def _one_line(json: bytes) -> bytes:
    """JSON that an upstream has printed over several lines, on one; its strings hold no raw line break."""
    return json.replace(b"\r", b" ").replace(b"\n", b" ") if b"\n" in json or b"\r" in json else json
