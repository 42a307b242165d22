"""What an answer tells of a managed context: edits, a summary and its passes, put into a message or its stream. Pure.

The forms are those of Claude's own answers (SDK `beta_context_management_response.py`, `beta_usage.py`), so that a
client cannot tell who managed its context. Only what must change of an answer's bytes changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from freehold.wire.envelopes import parse_fields, replace_fields
from freehold.wire.frames import frame, parse_event

Json = dict[str, Any]
_encode = msgspec.json.Encoder().encode
_COUNTS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_BLOCK_EVENTS = ("content_block_start", "content_block_delta", "content_block_stop")


@dataclass(slots=True)
class Told:
    """What is to be told. `applied` of `None`: nothing of edits was asked for."""

    applied: list[Json] | None
    compacted: bool = False
    said: str | None = None
    """The summary; `None` after a compaction: it failed."""
    usage: Mapping[str, Any] | None = None
    """Of the summary's own request."""
    iterates: bool = False
    """Compaction was asked for, so the usage names its passes one by one."""
    began: Mapping[str, Any] | None = None
    """The usage at the beginning of the stream: its end may repeat less."""

    @property
    def tells(self) -> bool:
        """Whether the answer changes at all."""
        return self.applied is not None or self.compacted

    @property
    def block(self) -> Json:
        """The block that opens the answer after a compaction."""
        return {"type": "compaction", "content": self.said, "encrypted_content": None}

    @property
    def management(self) -> bytes:
        """The answer's `context_management`."""
        return _encode({"applied_edits": self.applied or []})


def retold(body: bytes, told: Told) -> bytes:
    """A whole answer that tells of it."""
    fields = parse_fields(body)
    changes: dict[str, bytes | None] = {}
    if told.applied is not None:
        changes["context_management"] = told.management
    if told.compacted:
        content = msgspec.json.decode(fields["content"])
        changes["content"] = _encode([told.block, *content])
    if told.iterates:
        usage = msgspec.json.decode(fields["usage"])
        changes["usage"] = _encode(usage | {"iterations": _iterations(told, usage)})
    return replace_fields(body, fields, changes)


def retold_event(event: bytes, told: Told) -> bytes:
    """One event of a streamed answer that tells of it; the summary comes behind `message_start`."""
    parsed = parse_event(event)
    if parsed is None:
        return event
    name, data = parsed
    if name == "message_start" and told.iterates:
        told.began = msgspec.json.decode(data)["message"]["usage"]
        return event + (_opening(told) if told.compacted else b"")
    if name in _BLOCK_EVENTS and told.compacted:
        fields = parse_fields(data)
        return frame(name, replace_fields(data, fields, {"index": b"%d" % (int(fields["index"]) + 1)}))
    return frame(name, _ended(data, told)) if name == "message_delta" else event


def paused(message_id: str, model: str, told: Told) -> Json:
    """The answer that is a summary and nothing else."""
    usage = {**dict.fromkeys(_COUNTS, 0), "cache_creation": None}
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [told.block],
        "stop_reason": "compaction",
        "stop_sequence": None,
        "usage": {**usage, "iterations": [_pass("compaction", told.usage or usage)]},
        "context_management": {"applied_edits": told.applied or []},
    }


def _opening(told: Told) -> bytes:
    empty = {**told.block, "content": None}
    delta = {"type": "compaction_delta", "content": told.said, "encrypted_content": None}
    events: tuple[Json, ...] = (
        {"type": "content_block_start", "index": 0, "content_block": empty},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
    )
    return b"".join(frame(event["type"], _encode(event)) for event in events)


def _ended(data: bytes, told: Told) -> bytes:
    fields = parse_fields(data)
    changes: dict[str, bytes | None] = {}
    if told.applied is not None:
        changes["context_management"] = told.management
    if told.iterates:
        usage = msgspec.json.decode(fields["usage"])
        changes["usage"] = _encode(usage | {"iterations": _iterations(told, usage)})
    return replace_fields(data, fields, changes)


def _iterations(told: Told, usage: Mapping[str, Any]) -> list[Json]:
    summary = [_pass("compaction", told.usage or {})] if told.compacted else []
    return [*summary, _pass("message", {**(told.began or {}), **usage})]


def _pass(kind: str, usage: Mapping[str, Any]) -> Json:
    counts = {name: usage.get(name) or 0 for name in _COUNTS}
    return {"type": kind, **counts, "cache_creation": usage.get("cache_creation")}
