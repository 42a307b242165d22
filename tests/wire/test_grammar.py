"""The rules of a stream, each broken once, and what the fold makes of odd streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from freehold.errors import Overloaded
from freehold.wire.grammar import Fold, Grammar, GrammarBroken, unfold

Event = dict[str, Any]

START: Event = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    },
}
END: Event = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}
STOP: Event = {"type": "message_stop"}
PING: Event = {"type": "ping"}
ERROR: Event = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def block(index: int, kind: str = "text", **members: Any) -> Event:
    empty = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}}.get(kind, {})
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **empty, **members}}


def piece(index: int, kind: str = "text_delta", **members: Any) -> Event:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **(members or {"text": "a"})}}


def close(index: int) -> Event:
    return {"type": "content_block_stop", "index": index}


def accept(events: Sequence[Event]) -> Grammar:
    grammar = Grammar()
    for event in events:
        grammar.accept(event)
    return grammar


def fold(events: Sequence[Event]) -> Fold:
    folded = Fold()
    for event in events:
        folded.add(event)
    return folded


LEGAL = {
    "nothing written": [START, END, STOP],
    "pings anywhere": [PING, START, PING, block(0), PING, piece(0), close(0), PING, END, PING, STOP],
    "several ends": [START, block(0), piece(0), close(0), END, END, STOP],
    "two blocks": [START, block(0), close(0), block(1, "redacted_thinking", data="x"), close(1), END, STOP],
    "an early error": [ERROR],
    "a late error": [START, block(0), piece(0), ERROR],
    "a signed thought": [
        START,
        block(0, "thinking"),
        piece(0, "thinking_delta", thinking="hm"),
        piece(0, "signature_delta", signature="s"),
        close(0),
        END,
        STOP,
    ],
}


@pytest.mark.parametrize("events", LEGAL.values(), ids=LEGAL)
def test_a_legal_stream_is_accepted_to_its_end(events: Sequence[Event]) -> None:
    assert accept(events).over
    assert not accept(events[:-1]).over


@pytest.mark.parametrize(
    ("rule", "events"),
    [
        (1, [END]),
        (1, [block(0)]),
        (1, [START, START]),
        (1, [START, block(0), START]),
        (2, [{"type": "message_start", "message": START["message"] | {"content": [{"type": "text"}]}}]),
        (2, [{"type": "message_start", "message": START["message"] | {"stop_reason": "end_turn"}}]),
        (2, [{"type": "message_start"}]),
        (3, [START, block(1)]),
        (3, [START, block(0), close(0), block(0)]),
        (3, [START, piece(0)]),
        (3, [START, close(0)]),
        (3, [START, STOP]),
        (4, [START, block(0), piece(1)]),
        (4, [START, block(0), close(1)]),
        (4, [START, block(0), block(1)]),
        (4, [START, block(0), END]),
        (4, [START, block(0), STOP]),
        (5, [START, block(0), piece(0, "thinking_delta", thinking="x")]),
        (5, [START, block(0, "tool_use"), piece(0)]),
        (5, [START, block(0, "web_search_tool_result"), piece(0)]),
        (5, [START, block(0), {"type": "content_block_delta", "index": 0}]),
        (6, [START, block(0, "thinking"), *[piece(0, "signature_delta", signature="s")] * 2]),
        (7, [START, END, block(0)]),
        (7, [START, {"type": "message_delta", "delta": {}, "usage": {}}]),
        (7, [START, {"type": "message_delta", "usage": {"output_tokens": 1}}]),
        (8, [START, END, STOP, PING]),
        (8, [START, END, STOP, STOP]),
        (8, [ERROR, PING]),
        (11, [START, {"type": "message_pause"}]),
        (11, [{}]),
    ],
)
def test_each_rule_is_held_and_named(rule: int, events: Sequence[Event]) -> None:
    accept(events[:-1])
    with pytest.raises(GrammarBroken, match=rf"rule {rule} ") as broken:
        accept(events)
    assert broken.value.rule == rule


def test_the_message_so_far_has_the_half_of_an_open_block() -> None:
    folded = fold([START, block(0), piece(0, text="Hel"), piece(0, text="lo")])
    assert folded.message is not None and folded.message["content"] == [{"type": "text", "text": "Hello"}]
    folded.add(piece(0, text="!"))
    folded.add(close(0))
    assert folded.message["content"] == [{"type": "text", "text": "Hello!"}]


def test_tool_input_is_joined_and_read_when_its_block_closes() -> None:
    parts = [piece(0, "input_json_delta", partial_json=part) for part in ("", '{"pa', 'th": "/a', '", "n": [1]}')]
    events = [START, block(0, "tool_use", id="toolu_1", name="read", input={}), *parts, close(0), END, STOP]
    assert fold(events).finish()["content"][0]["input"] == {"path": "/a", "n": [1]}


def test_tool_input_that_was_cut_off_keeps_what_is_whole() -> None:
    parts = [piece(0, "input_json_delta", partial_json=part) for part in ('{"a": 1, "b": "ha',)]
    folded = fold([START, block(0, "tool_use", id="toolu_1", name="read", input={}), *parts])
    assert folded.message is not None and folded.message["content"][0]["input"] == {"a": 1}
    folded.add(piece(0, "input_json_delta", partial_json='lf"}'))
    folded.add(close(0))
    assert folded.message["content"][0]["input"] == {"a": 1, "b": "half"}


def test_a_tool_call_without_pieces_has_an_empty_input() -> None:
    events = [START, block(0, "tool_use", id="toolu_1", name="now", input={}), close(0), END, STOP]
    assert fold(events).finish()["content"][0]["input"] == {}


def test_tool_input_that_is_no_json_is_an_error_that_names_the_tool() -> None:
    broken = [START, block(0, "tool_use", name="read", input={}), piece(0, "input_json_delta", partial_json="{]")]
    with pytest.raises(GrammarBroken, match="the input of read is not JSON"):
        fold([*broken, close(0)])


def test_the_counts_of_the_end_replace_only_what_they_name() -> None:
    start = {**START, "message": START["message"] | {"usage": {"input_tokens": 3, "output_tokens": 1, "speed": "fast"}}}
    end = {**END, "usage": {"output_tokens": 5, "input_tokens": None, "cache_read_input_tokens": 0}}
    usage = fold([start, end, STOP]).finish()["usage"]
    assert usage == {"input_tokens": 3, "output_tokens": 5, "speed": "fast", "cache_read_input_tokens": 0}


def test_a_fallback_renames_the_model() -> None:
    events = [START, block(0, "fallback", to={"model": "claude-haiku-4-5"}), close(0), END, STOP]
    message = fold(events).finish()
    assert message["model"] == "claude-haiku-4-5"
    hop = {"type": "fallback", "from": {"model": "claude-sonnet-4-5"}, "to": {"model": "claude-haiku-4-5"}}
    [start, *_] = unfold({**message, "content": [hop]})
    assert start["message"]["model"] == "claude-sonnet-4-5"


def test_what_a_fold_does_not_know_it_passes_over() -> None:
    events = [PING, START, {"type": "news"}, block(0), piece(0, "new_delta"), piece(0), close(0), END, STOP]
    assert fold(events).finish()["content"] == [{"type": "text", "text": "a"}]


def test_events_stay_as_they_were() -> None:
    events = [START, block(0), piece(0), close(0), END, STOP]
    before = repr(events)
    fold(events).finish()["content"].clear()
    assert repr(events) == before


@pytest.mark.parametrize(
    "events",
    [
        [block(0)],
        [START, START],
        [START, piece(0)],
        [START, block(0), piece(7)],
        [START, block(0), piece(-1)],
        [START, {"type": "content_block_start", "index": 0}],
        [START, block(0), piece(0, "text_delta", txt="a")],
        [{"type": "message_start", "message": {"id": "msg_1"}}],
    ],
)
def test_what_cannot_be_added_up_is_the_upstreams_fault(events: Sequence[Event]) -> None:
    with pytest.raises(GrammarBroken) as broken:
        fold(events)
    assert broken.value.status == 502


def test_a_stream_that_broke_off_is_no_message() -> None:
    for events in ([], [START], [START, block(0), piece(0)], [START, END]):
        with pytest.raises(GrammarBroken, match="broke off"):
            fold(events).finish()


def test_an_error_event_is_raised_as_what_it_says() -> None:
    with pytest.raises(Overloaded, match="Overloaded"):
        fold([START, ERROR])


def test_a_long_text_of_many_pieces_is_added_up_in_linear_time() -> None:
    folded = fold([START, block(0)])
    for _ in range(200_000):
        folded.add(piece(0, text="0123456789"))
    folded.add(close(0))
    assert folded.message is not None and len(folded.message["content"][0]["text"]) == 2_000_000
