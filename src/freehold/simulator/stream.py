"""A Message as the bytes of a stream: one event after another, cut into as many deltas as a real reply has.

Written straight as bytes because this is the hot path of every load test; `wire.grammar` checks it in the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from freehold.simulator.model import tokens

_encode = msgspec.json.Encoder().encode
PIECES_PER_DELTA = 6
_INPUT_CHARACTERS = 24
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_START = b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%s}\n\n'
_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%s","%s":%s}}\n\n'
)
_BLOCK_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'


def events(message: Mapping[str, Any]) -> Iterator[tuple[bytes, int, int]]:
    """Each event's bytes, the content block it belongs to (-1: none), and about how many tokens it brings."""
    yield _message_start(message), -1, 0
    for index, block in enumerate(message["content"]):
        yield from _block(index, block)
        if index == 0:
            # The real stream pings once after the first block has begun; here after it, so that blocks stay simple.
            yield PING, -1, 0
    yield _message_delta(message), -1, 0
    yield _STOP, -1, 0


def _message_start(message: Mapping[str, Any]) -> bytes:
    usage = message["usage"] | {
        "output_tokens": min(1, message["usage"]["output_tokens"]),
        "output_tokens_details": None,
    }
    usage.pop("iterations", None)
    empty = {"stop_reason": None, "stop_sequence": None, "stop_details": None, "content": [], "usage": usage}
    if "context_management" in message:
        empty["context_management"] = None
    begun = {"type": "message_start", "message": {**message, **empty}}
    return b"event: message_start\ndata: %s\n\n" % _encode(begun)


def _message_delta(message: Mapping[str, Any]) -> bytes:
    usage = message["usage"]
    late = (
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens",
        "output_tokens_details",
    )
    ended = {
        "type": "message_delta",
        "delta": {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details")},
        "usage": {key: usage[key] for key in (*late, "iterations") if key in usage},
    }
    if message.get("context_management") is not None:
        ended["context_management"] = message["context_management"]
    return b"event: message_delta\ndata: %s\n\n" % _encode(ended)


def _block(index: int, block: Mapping[str, Any]) -> Iterator[tuple[bytes, int, int]]:
    match block["type"]:
        case "text":
            deltas = _text(index, b"text_delta", b"text", block["text"])
            empty = {**block, "text": ""}
        case "thinking":
            deltas = _thinking(index, block)
            empty = {**block, "thinking": "", "signature": ""}
        case "tool_use":
            deltas = _input(index, block["input"])
            empty = {**block, "input": {}}
        case "compaction":
            deltas = _summary(index, block)
            empty = {**block, "content": None, "encrypted_content": None}
        case _:
            deltas, empty = iter(()), dict(block)
    yield _START % (index, _encode(empty)), index, 0
    yield from deltas
    yield _BLOCK_STOP % index, index, 0


def _text(index: int, kind: bytes, field: bytes, text: str) -> Iterator[tuple[bytes, int, int]]:
    cut = tokens.pieces(text)
    for at in range(0, len(cut), PIECES_PER_DELTA):
        some = cut[at : at + PIECES_PER_DELTA]
        yield _DELTA % (index, kind, field, _encode("".join(some))), index, len(some)


def _thinking(index: int, block: Mapping[str, Any]) -> Iterator[tuple[bytes, int, int]]:
    yield from _text(index, b"thinking_delta", b"thinking", block["thinking"])
    yield _DELTA % (index, b"signature_delta", b"signature", _encode(block["signature"])), index, 0


def _input(index: int, value: Mapping[str, Any]) -> Iterator[tuple[bytes, int, int]]:
    yield _DELTA % (index, b"input_json_delta", b"partial_json", b'""'), index, 0
    written = _encode(value).decode()
    if written == "{}":
        return
    for at in range(0, len(written), _INPUT_CHARACTERS):
        piece = written[at : at + _INPUT_CHARACTERS]
        yield _DELTA % (index, b"input_json_delta", b"partial_json", _encode(piece)), index, 4


def _summary(index: int, block: Mapping[str, Any]) -> Iterator[tuple[bytes, int, int]]:
    """All of a summary comes in one delta."""
    delta = {"type": "compaction_delta", "content": block["content"], "encrypted_content": block["encrypted_content"]}
    event = {"type": "content_block_delta", "index": index, "delta": delta}
    yield b"event: content_block_delta\ndata: %s\n\n" % _encode(event), index, 0


def error_event(kind: str, message: str, request_id: str) -> bytes:
    """The `error` event that may come in the middle of a stream."""
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    return b"event: error\ndata: %s\n\n" % _encode(body)
