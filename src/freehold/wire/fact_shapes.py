"""The members of answers and events that carry facts, as shapes to decode: the usual ones, and one for all others."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec


class Known(msgspec.Struct, gc=False):
    """The members that carry facts, of a whole answer and of an event alike; everything else is skipped unparsed.

    They are `Any` so that an odd value of an odd upstream costs that fact, not the answer.
    """

    type: Any = None
    id: Any = None
    model: Any = None
    stop_reason: Any = None
    usage: Any = None
    error: Any = None
    message: Any = None
    delta: Any = None
    content_block: Any = None


decode = msgspec.json.Decoder(Known).decode

Count = Annotated[int, msgspec.Meta(ge=0)]


class Split(msgspec.Struct, gc=False):
    """What was written to the cache, by its lifetime."""

    ephemeral_5m_input_tokens: Count = 0
    ephemeral_1h_input_tokens: Count = 0


class UsualUsage(msgspec.Struct, gc=False):
    """The usage of nearly every answer; whatever has more to it, or is odd, `tap` reads another way."""

    input_tokens: Count
    output_tokens: Count
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation: Split | None = None
    server_tool_use: None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    iterations: None = None


class UsualAnswer(msgspec.Struct, gc=False, tag="message"):
    """A whole answer, and the message of `message_start`."""

    id: str
    model: str
    usage: UsualUsage
    stop_reason: str | None = None


decode_usual = msgspec.json.Decoder(UsualAnswer).decode


class UsualStart(msgspec.Struct, gc=False, tag="message_start"):
    """The first event."""

    message: UsualAnswer


class StopReason(msgspec.Struct, gc=False):
    """The `delta` of `message_delta`."""

    stop_reason: str | None = None


class UsualGrowth(msgspec.Struct, gc=False):
    """What `message_delta` says of the usage: totals, and nothing of what it leaves out."""

    output_tokens: Count
    input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: None = None
    cache_creation: None = None
    server_tool_use: None = None
    service_tier: None = None
    speed: None = None
    inference_geo: None = None
    iterations: None = None


class UsualDelta(msgspec.Struct, gc=False, tag="message_delta"):
    """The last but one event."""

    delta: StopReason
    usage: UsualGrowth


class UsualStop(msgspec.Struct, gc=False, tag="message_stop"):
    """The last event."""


decode_usual_event = msgspec.json.Decoder(UsualStart | UsualDelta | UsualStop).decode
