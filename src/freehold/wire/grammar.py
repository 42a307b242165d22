"""Which event of a Messages stream may follow which, and what the events add up to.

One table of states (`_NEXT`), and these rules; each error names its rule by number. Sources: [docs] Claude API docs,
page "Streaming messages", read 2026-11-23; [acc] `accumulate_event` in the SDK's `lib/streaming/_messages.py` and
`_beta_messages.py`; [sse] SDK `_streaming.py`; [types] SDK `types/`.

 1. The first event is `message_start`, and there is only one. [docs, acc]
 2. Its message is empty: `content` is [], `stop_reason` is null. [docs]
 3. Blocks come one after another: `content_block_start` with index 0, 1, 2 …, none while another is open.
    [docs; acc appends blocks in the order of their starts and looks deltas up by index]
 4. `content_block_delta` and `content_block_stop` carry the index of the open block. [docs, acc]
 5. The delta's type fits the block's type (`DELTAS`); blocks that are not listed come whole.
    [docs; acc drops a delta that does not fit]
 6. `signature_delta` comes once, and nothing but `content_block_stop` after it. [docs, page "Extended thinking"]
 7. `message_delta`, once or more, after the last block is closed; its `usage` has `output_tokens`. [docs, types]
 8. `message_stop` ends the stream, after a `message_delta`. [docs]
 9. `ping` may come anywhere before the end. [docs; sse skips it]
10. `error` may come anywhere before the end and ends the stream. [docs; sse raises]
11. There are no other events. [types, RawMessageStreamEvent]

`Grammar` is for streams that we make. `Fold` takes what a server sent, and minds only what it cannot add up, as the SDK
does. Neither knows bytes: `frames` does.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from freehold.errors import UpstreamFailed
from freehold.wire import envelopes, partial_json

State = Literal["before", "between", "inside", "ending", "over"]

_NEXT: Mapping[State, Mapping[str, State]] = {
    "before": {"message_start": "between", "ping": "before", "error": "over"},
    "between": {"content_block_start": "inside", "message_delta": "ending", "ping": "between", "error": "over"},
    "inside": {"content_block_delta": "inside", "content_block_stop": "between", "ping": "inside", "error": "over"},
    "ending": {"message_delta": "ending", "message_stop": "over", "ping": "ending", "error": "over"},
    "over": {},
}

_BROKEN: Mapping[State, tuple[int, str]] = {
    "before": (1, "the first event must be message_start"),
    "between": (3, "no block is open: content_block_start or message_delta must come"),
    "inside": (4, "a block is open: content_block_delta or content_block_stop must come"),
    "ending": (7, "after message_delta only message_delta or message_stop may come"),
    "over": (8, "the stream has ended"),
}

_EVENTS = frozenset(event for row in _NEXT.values() for event in row)

DELTAS: Mapping[str, frozenset[str]] = {
    "text": frozenset({"text_delta", "citations_delta"}),
    "thinking": frozenset({"thinking_delta", "signature_delta"}),
    "tool_use": frozenset({"input_json_delta"}),
    "server_tool_use": frozenset({"input_json_delta"}),
    "mcp_tool_use": frozenset({"input_json_delta"}),
    "compaction": frozenset({"compaction_delta"}),
}
"""Which deltas a block may get, by the block's type."""

_USES = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_LATE_USAGE = ("server_tool_use", "output_tokens_details", "iterations", "fallback_credit")
"""Known only at the end: `message_delta` brings them."""
_DELTA_USAGE = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", *_LATE_USAGE)
"""What `message_delta.usage` may carry besides `output_tokens` (SDK MessageDeltaUsage, BetaMessageDeltaUsage)."""


class GrammarBroken(UpstreamFailed):
    """A stream broke a rule of the protocol."""

    def __init__(self, rule: int, text: str) -> None:
        super().__init__(f"The stream broke rule {rule} of its grammar: {text}.")
        self.rule = rule


class Grammar:
    """Accepts the events of one stream, in order."""

    def __init__(self) -> None:
        self.state: State = "before"
        self._blocks = 0
        self._block_type = ""
        self._signed = False

    @property
    def over(self) -> bool:
        """The stream has come to its end, by `message_stop` or by `error`."""
        return self.state == "over"

    def accept(self, event: Mapping[str, Any]) -> None:
        """Take the next event.

        Raises:
            GrammarBroken: it may not come here; `rule` is its number at the head of this file.
        """
        kind = event.get("type")
        if kind not in _EVENTS:
            raise GrammarBroken(11, f"there is no event {kind!r}")
        if kind not in _NEXT[self.state]:
            rule, text = _BROKEN[self.state]
            raise GrammarBroken(1 if kind == "message_start" else rule, f"{text}, not {kind}")
        _CHECKS.get(kind, _no_check)(self, event)
        self.state = _NEXT[self.state][kind]

    def _message_start(self, event: Mapping[str, Any]) -> None:
        message = event.get("message")
        if not isinstance(message, dict) or message.get("content") != [] or message.get("stop_reason") is not None:
            raise GrammarBroken(2, "message_start needs a message with content [] and stop_reason null")

    def _block_start(self, event: Mapping[str, Any]) -> None:
        if event.get("index") != self._blocks:
            raise GrammarBroken(3, f"block {self._blocks} must come next, not {event.get('index')}")
        self._block_type = str(_member(event, "content_block", 3).get("type"))
        self._blocks += 1
        self._signed = False

    def _block_delta(self, event: Mapping[str, Any]) -> None:
        self._same_block(event)
        kind = _member(event, "delta", 5).get("type")
        if kind not in DELTAS.get(self._block_type, ()):
            raise GrammarBroken(5, f"a block of type {self._block_type} takes no {kind}")
        if self._signed:
            raise GrammarBroken(6, f"after signature_delta only content_block_stop may come, not {kind}")
        self._signed = kind == "signature_delta"

    def _same_block(self, event: Mapping[str, Any]) -> None:
        if event.get("index") != self._blocks - 1:
            raise GrammarBroken(4, f"block {self._blocks - 1} is open, not {event.get('index')}")

    def _message_delta(self, event: Mapping[str, Any]) -> None:
        _member(event, "delta", 7)
        if not isinstance(_member(event, "usage", 7).get("output_tokens"), int):
            raise GrammarBroken(7, "message_delta needs usage.output_tokens")


def _no_check(_: Grammar, __: Mapping[str, Any]) -> None:
    pass


_CHECKS: Mapping[str, Callable[[Grammar, Mapping[str, Any]], None]] = {
    "message_start": Grammar._message_start,
    "content_block_start": Grammar._block_start,
    "content_block_delta": Grammar._block_delta,
    "content_block_stop": Grammar._same_block,
    "message_delta": Grammar._message_delta,
}


class Fold:
    """Adds the events of one stream up to the message, as the SDK's accumulators do (GA and beta).

    Unknown events and deltas are passed over, as the API's versioning rules ask of a client.
    """

    def __init__(self) -> None:
        self._message: dict[str, Any] | None = None
        self._pieces: dict[int, list[str]] = {}
        """Of the open blocks. Joined late: a long text made of small pieces must not be copied for each of them."""
        self._stopped = False

    @property
    def message(self) -> dict[str, Any] | None:
        """The message so far, with half a text or tool input if its block is open; `None` before `message_start`."""
        for index in self._pieces:
            self._settle(index)
        return self._message

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the next event. The event is not changed and not kept.

        Raises:
            GrammarBroken: it cannot be added up: it comes before `message_start`, speaks of a block that was never
                opened, lacks a member, or closes a tool call whose input is not JSON.
            FreeholdError: the event is an `error`; the class and status are those of its type (`Overloaded` …).
        """
        kind = event.get("type")
        if kind == "error":
            raise envelopes.error_from(event.get("error"))
        if kind == "message_start":
            self._start(_member(event, "message", 2))
        elif kind in _EVENTS and kind != "ping":
            if self._message is None:
                raise GrammarBroken(1, f"the first event must be message_start, not {kind}")
            self._add_to(self._message, kind, event)

    def finish(self) -> dict[str, Any]:
        """The whole message.

        Raises:
            GrammarBroken: the stream has not come to its `message_stop`.
        """
        message = self.message
        if message is None or not self._stopped:
            raise GrammarBroken(8, "it broke off before message_stop")
        return message

    def _start(self, message: dict[str, Any]) -> None:
        if self._message is not None:
            raise GrammarBroken(1, "a second message_start")
        if not isinstance(message.get("content"), list) or not isinstance(message.get("usage"), dict):
            raise GrammarBroken(2, "message_start needs a message with content and usage")
        self._message = copy.deepcopy(message)

    def _add_to(self, message: dict[str, Any], kind: object, event: Mapping[str, Any]) -> None:
        match kind:
            case "content_block_start":
                block = copy.deepcopy(_member(event, "content_block", 3))
                message["content"].append(block)
                if block.get("type") == "fallback":
                    message["model"] = _member(block, "to", 3).get("model")
            case "content_block_delta":
                index = self._index(message, event)
                self._add_delta(index, message["content"][index], _member(event, "delta", 5))
            case "content_block_stop":
                index = self._index(message, event)
                self._settle(index)
                self._pieces.pop(index, None)
            case "message_delta":
                _end(message, event)
            case "message_stop":
                self._stopped = True

    def _index(self, message: dict[str, Any], event: Mapping[str, Any]) -> int:
        index = event.get("index")
        if not isinstance(index, int) or not 0 <= index < len(message["content"]):
            raise GrammarBroken(4, f"block {index} was never opened")
        return index

    def _add_delta(self, index: int, block: dict[str, Any], delta: Mapping[str, Any]) -> None:
        kind = delta.get("type")
        if kind not in DELTAS.get(str(block.get("type")), ()):
            return
        match kind:
            case "citations_delta":
                citation = copy.deepcopy(_member(delta, "citation", 5))
                block["citations"] = [*(block.get("citations") or ()), citation]
            case "signature_delta":
                block["signature"] = _piece(delta, "signature")
            case "compaction_delta":
                block["content"] = delta.get("content")
                block["encrypted_content"] = delta.get("encrypted_content")
            case "text_delta" | "thinking_delta":
                self._pieces.setdefault(index, []).append(_piece(delta, kind.removesuffix("_delta")))
            case "input_json_delta":
                self._pieces.setdefault(index, []).append(_piece(delta, "partial_json"))

    def _settle(self, index: int) -> None:
        """Put the pieces that came into their block."""
        joined = "".join(self._pieces.get(index, ()))
        if not joined or self._message is None:
            return
        block = self._message["content"][index]
        if block["type"] in _USES:
            self._pieces[index] = [joined]
            block["input"] = _input(block, joined)
        else:
            self._pieces[index] = []
            block[block["type"]] = block.get(block["type"], "") + joined  # `text` in a text, `thinking` in a thinking


def _input(block: Mapping[str, Any], written: str) -> Any:
    try:
        return partial_json.read(written)
    except (ValueError, RecursionError) as error:
        raise GrammarBroken(5, f"the input of {block.get('name')} is not JSON ({error})") from None


def _end(message: dict[str, Any], event: Mapping[str, Any]) -> None:
    """`message_delta`: how it ended replaces, also with null; counts are totals and replace where they are there."""
    delta, usage = _member(event, "delta", 7), _member(event, "usage", 7)
    for name in ("stop_reason", "stop_sequence", "stop_details"):
        message[name] = delta.get(name)
    if delta.get("container") is not None:
        message["container"] = delta["container"]
    for name in ("context_management", "input_transformations"):
        if event.get(name) is not None:
            message[name] = event[name]
    message["usage"]["output_tokens"] = usage.get("output_tokens")
    message["usage"].update({name: usage[name] for name in _DELTA_USAGE if usage.get(name) is not None})


def _member(of: Mapping[str, Any], name: str, rule: int) -> dict[str, Any]:
    value = of.get(name)
    if not isinstance(value, dict):
        raise GrammarBroken(rule, f"{of.get('type')} has no {name}")
    return value


def _piece(delta: Mapping[str, Any], name: str) -> str:
    value = delta.get(name)
    if not isinstance(value, str):
        raise GrammarBroken(5, f"{delta.get('type')} has no {name}")
    return value


Pieces = Callable[[str], Iterable[str]]
"""Cuts a text into the deltas it is sent in; joined they must be the text again."""


def in_one_piece(text: str) -> Iterable[str]:
    """The whole text as one delta, and none for an empty one."""
    return (text,) if text else ()


def unfold(message: Mapping[str, Any], *, pieces: Pieces | None = None) -> Iterator[dict[str, Any]]:
    """A legal stream of events that folds to this message again, as the API would have sent it.

    `message` is a whole answer with its `stop_reason`, `stop_sequence` and `stop_details`; it is not changed.
    """
    cut = pieces or in_one_piece
    yield {"type": "message_start", "message": _begun(message)}
    for index, block in enumerate(message["content"]):
        start, deltas = _UNFOLD.get(block["type"], _whole)(block, cut)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield _ended(message)
    yield {"type": "message_stop"}


def _begun(message: Mapping[str, Any]) -> dict[str, Any]:
    usage = {name: count for name, count in message["usage"].items() if name not in _LATE_USAGE or count is None}
    usage["output_tokens"] = min(1, usage["output_tokens"])
    late: dict[str, Any] = {
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": usage,
    }
    late |= {name: None for name in ("container", "context_management") if name in message}
    handed_over = [block["from"]["model"] for block in message["content"] if block["type"] == "fallback"]
    return {**message, **late, "model": handed_over[0] if handed_over else message["model"]}


def _ended(message: Mapping[str, Any]) -> dict[str, Any]:
    usage = message["usage"]
    delta = {name: message.get(name) for name in ("stop_reason", "stop_sequence", "stop_details")}
    if message.get("container") is not None:
        delta["container"] = message["container"]
    counts = {name: usage[name] for name in _DELTA_USAGE if usage.get(name) is not None}
    event = {"type": "message_delta", "delta": delta, "usage": {**counts, "output_tokens": usage["output_tokens"]}}
    if message.get("context_management") is not None:
        event["context_management"] = message["context_management"]
    return event


_Unfolded = tuple[dict[str, Any], Iterable[dict[str, Any]]]
"""A block as it starts, and the deltas that fill it."""


def _whole(block: Mapping[str, Any], _: Pieces) -> _Unfolded:
    return dict(block), ()


def _text(block: Mapping[str, Any], cut: Pieces) -> _Unfolded:
    texts = [{"type": "text_delta", "text": piece} for piece in cut(block["text"])]
    citations = [{"type": "citations_delta", "citation": citation} for citation in block.get("citations") or ()]
    return {**block, "text": "", **({"citations": []} if citations else {})}, [*texts, *citations]


def _thinking(block: Mapping[str, Any], cut: Pieces) -> _Unfolded:
    thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in cut(block["thinking"])]
    signature = [{"type": "signature_delta", "signature": block["signature"]}]
    return {**block, "thinking": "", "signature": ""}, [*thoughts, *signature]


def _use(block: Mapping[str, Any], cut: Pieces) -> _Unfolded:
    written = json.dumps(block["input"], ensure_ascii=False) if block["input"] else ""
    pieces = ["", *cut(written)]  # Claude's first piece is empty
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


def _compaction(block: Mapping[str, Any], cut: Pieces) -> _Unfolded:
    """By threshold: empty, then all of it in one delta. On demand (it is signed): whole, without a delta."""
    if block.get("signature") is not None:
        return _whole(block, cut)
    late = ("content", "encrypted_content")
    delta = {"type": "compaction_delta", **{name: block.get(name) for name in late}}
    return {**block, **dict.fromkeys(late)}, [delta]


_UNFOLD: Mapping[str, Callable[[Mapping[str, Any], Pieces], _Unfolded]] = {
    "text": _text,
    "thinking": _thinking,
    "tool_use": _use,
    "server_tool_use": _use,
    "mcp_tool_use": _use,
    "compaction": _compaction,
}
