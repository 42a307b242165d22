"""Reads the facts of an answer: of a whole one, or along a stream.

`Tap` stands on the byte path of every stream: it searches bytes and parses only the few events that carry facts. It
never changes a byte.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec.structs import replace

from freehold.wire.fact_shapes import (
    Known,
    UsualDelta,
    UsualGrowth,
    UsualStart,
    UsualStop,
    UsualUsage,
    decode,
    decode_usual,
    decode_usual_event,
)
from freehold.wire.facts import Facts, Iteration, Usage
from freehold.wire.frames import borders_of, parse_event


def of_whole(status: int, body: bytes) -> Facts:
    """The facts of a whole answer. A body that is no JSON object tells nothing, and is not complete."""
    if status < 300:
        try:
            usual = decode_usual(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return _of_odd(status, body)
        if usual.usage.cache_creation is not None and usual.usage.cache_creation_input_tokens is None:
            return _of_odd(status, body)
        return Facts(usual.id, usual.model, usual.stop_reason, _of_usual(usual.usage), None, None, True, True)
    return _of_odd(status, body)


def _of_usual(usage: UsualUsage) -> Usage:
    writes = usage.cache_creation_input_tokens or 0
    split = usage.cache_creation
    write_1h = 0 if split is None else min(split.ephemeral_1h_input_tokens, writes)
    return Usage(
        usage.input_tokens,
        usage.output_tokens,
        writes - write_1h,
        write_1h,
        usage.cache_read_input_tokens or 0,
        0,
        0,
        usage.service_tier,
        usage.speed,
        usage.inference_geo,
    )


def _grown(before: Usage | None, growth: UsualGrowth) -> Usage:
    was = before or Usage()
    return replace(
        was,
        input_tokens=was.input_tokens if growth.input_tokens is None else growth.input_tokens,
        output_tokens=growth.output_tokens,
        cache_read_tokens=(
            was.cache_read_tokens if growth.cache_read_input_tokens is None else growth.cache_read_input_tokens
        ),
    )


def _of_odd(status: int, body: bytes) -> Facts:
    try:
        known = decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Facts()
    if status >= 400 or known.type == "error":
        kind, message = _error(known.error)
        return Facts(error_type=kind, error_message=message)
    return Facts(
        message_id=_text(known.id),
        model=_text(known.model),
        stop_reason=_text(known.stop_reason),
        usage=_usage(known.usage, None),
        complete=True,
        begun=True,
    )


# Inside a JSON string a quote is escaped, so that text of the model can never look like one of these. One search for
# all of them takes half as long as one for each.
_mark = re.compile(rb'"(?:message_|error"|fallback")').search


class Tap:
    """Reads along a stream. `facts` is right after each `read`; ask it at any time, also of a stream that broke off."""

    __slots__ = ("facts",)

    def __init__(self) -> None:
        self.facts = Facts()

    def read(self, data: bytes) -> None:
        """Take note of what one read brought: whole events. Never raises for what is in it."""
        mark = _mark(data)
        if mark is not None and b"\r" in data:
            self._read_between(data, borders_of(data))
            return
        while mark is not None:
            start = data.rfind(b"\n\n", 0, mark.start())
            end = data.find(b"\n\n", mark.end())
            if end < 0:
                end = len(data)  # the last event of a stream may lack its blank line
            event = parse_event(data[0 if start < 0 else start + 2 : end + 2])
            if event is not None:
                self._take(event[1])
            mark = _mark(data, end)

    def _read_between(self, data: bytes, borders: list[int]) -> None:
        start = 0
        for end in borders:
            if _mark(data, start, end) is not None:
                event = parse_event(data[start:end])
                if event is not None:
                    self._take(event[1])
            start = end

    def _take(self, data: bytes) -> None:
        try:
            self._take_usual(decode_usual_event(data))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._take_odd(data)

    def _take_usual(self, event: UsualStart | UsualDelta | UsualStop) -> None:
        facts = self.facts
        if isinstance(event, UsualDelta):
            usage = _grown(facts.usage, event.usage)
            self.facts = Facts(
                facts.message_id,
                facts.model,
                event.delta.stop_reason,
                usage,
                facts.error_type,
                facts.error_message,
                facts.complete,
                facts.begun,
            )
        elif isinstance(event, UsualStop):
            self.facts = replace(facts, complete=facts.error_type is None)
        else:
            message = event.message
            if message.usage.cache_creation is not None and message.usage.cache_creation_input_tokens is None:
                raise msgspec.ValidationError
            usage = _of_usual(message.usage)
            self.facts = replace(facts, message_id=message.id, model=message.model, usage=usage, begun=True)

    def _take_odd(self, data: bytes) -> None:
        try:
            known = decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        match known.type:
            case "message_start":
                self._start(known.message)
            case "message_delta":
                self._delta(known)
            case "message_stop":
                self.facts = replace(self.facts, complete=self.facts.error_type is None)
            case "error":
                kind, message = _error(known.error)
                self.facts = replace(self.facts, error_type=kind, error_message=message, complete=False)
            case "content_block_start":
                self._fallback(known.content_block)

    def _start(self, message: Any) -> None:
        message = _object(message)
        self.facts = replace(
            self.facts,
            message_id=_text(message.get("id")),
            model=_text(message.get("model")),
            usage=_usage(message.get("usage"), None),
            begun=True,
        )

    def _delta(self, known: Known) -> None:
        self.facts = replace(
            self.facts,
            stop_reason=_text(_object(known.delta).get("stop_reason")),
            usage=_usage(known.usage, self.facts.usage),
        )

    def _fallback(self, block: Any) -> None:
        """As in the SDK's beta accumulator: a `fallback` block names the model that goes on answering."""
        block = _object(block)
        model = _text(_object(block.get("to")).get("model"))
        if block.get("type") == "fallback" and model is not None:
            self.facts = replace(self.facts, model=model)


def _error(error: Any) -> tuple[str, str]:
    error = _object(error)
    return _text(error.get("type")) or "api_error", _text(error.get("message")) or ""


def _usage(raw: Any, before: Usage | None) -> Usage | None:
    """Counts of a later event are totals, so they replace; what it leaves out stays as it was."""
    if not isinstance(raw, dict):
        return before
    was = before or Usage()
    write_5m, write_1h = _cache_writes(raw, was.cache_write_5m_tokens, was.cache_write_1h_tokens)
    tools = _object(raw.get("server_tool_use"))
    passes = raw.get("iterations")
    return Usage(
        input_tokens=_count(raw.get("input_tokens"), was.input_tokens),
        output_tokens=_count(raw.get("output_tokens"), was.output_tokens),
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        cache_read_tokens=_count(raw.get("cache_read_input_tokens"), was.cache_read_tokens),
        web_searches=_count(tools.get("web_search_requests"), was.web_searches),
        web_fetches=_count(tools.get("web_fetch_requests"), was.web_fetches),
        service_tier=_text(raw.get("service_tier")) or was.service_tier,
        speed=_text(raw.get("speed")) or was.speed,
        inference_geo=_text(raw.get("inference_geo")) or was.inference_geo,
        iterations=tuple(map(_iteration, passes)) if isinstance(passes, list) else was.iterations,
    )


def _iteration(raw: Any) -> Iteration:
    raw = _object(raw)
    write_5m, write_1h = _cache_writes(raw, 0, 0)
    return Iteration(
        kind=_text(raw.get("type")) or "message",
        model=_text(raw.get("model")),
        input_tokens=_count(raw.get("input_tokens"), 0),
        output_tokens=_count(raw.get("output_tokens"), 0),
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        cache_read_tokens=_count(raw.get("cache_read_input_tokens"), 0),
    )


def _cache_writes(raw: dict[str, Any], was_5m: int, was_1h: int) -> tuple[int, int]:
    """Cache writes by lifetime. `message_delta` gives only their sum, so the split of `message_start` is kept.

    What the sum has grown by was written by server tools, which cache for five minutes (API docs, prompt caching).
    """
    split = raw.get("cache_creation")
    if isinstance(split, dict):
        was_5m = _count(split.get("ephemeral_5m_input_tokens"), 0)
        was_1h = _count(split.get("ephemeral_1h_input_tokens"), 0)
    total = _count(raw.get("cache_creation_input_tokens"), was_5m + was_1h)
    write_1h = min(was_1h, total)
    return total - write_1h, write_1h


def _count(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
