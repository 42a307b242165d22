"""Edits of conversations: they clear what is old and named, and leave a conversation that the API takes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.context.compaction import asking, compacted, is_due, smaller, summary
from freehold.context.counting import estimate
from freehold.context.editing import CLEARED, clear_thinking, clear_tool_uses
from freehold.context.spilling import MOST_CHARACTERS, shortened, spilled_text


def conversation(names: list[str], *, thinking: bool = False) -> list[dict[str, Any]]:
    """A question, then a call of each of these tools with its result, then the answer."""
    made: list[dict[str, Any]] = [{"role": "user", "content": "go"}]
    for number, name in enumerate(names):
        thought = [{"type": "thinking", "thinking": f"hm {number}", "signature": "s"}] if thinking else []
        call = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": {"path": f"/{number}" * 9}}
        result = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": f"result {number} " * 50}
        made += [{"role": "assistant", "content": [*thought, call]}, {"role": "user", "content": [result]}]
    return made


def results(messages: list[dict[str, Any]]) -> list[Any]:
    blocks = [block for message in messages if isinstance(message["content"], list) for block in message["content"]]
    return [block["content"] for block in blocks if block["type"] == "tool_result"]


def test_all_results_but_the_last_few_are_cleared_and_the_original_stays() -> None:
    before = conversation(["a"] * 5)
    edited = clear_tool_uses(before, keep=2)
    placeholder = [{"type": "text", "text": CLEARED}]
    assert results(edited.messages)[:3] == [placeholder] * 3 and results(edited.messages)[3:] == results(before)[3:]
    assert edited.count == 3 and edited.tokens == estimate(before) - estimate(edited.messages) > 0
    assert results(before)[0].startswith("result 0")
    assert clear_tool_uses(edited.messages, keep=2).count == 0  # it was done before


def test_excluded_tools_keep_theirs_and_inputs_go_where_it_is_asked_for() -> None:
    edited = clear_tool_uses(conversation(["a", "b", "c"]), keep=0, exclude=["b"], clear_inputs=["a"])
    assert edited.count == 2 and results(edited.messages)[1].startswith("result 1")
    calls = [message["content"][0]["input"] for message in edited.messages if message["role"] == "assistant"]
    assert calls[0] == {} and calls[1] and calls[2]
    assert all(
        not message["content"][0]["input"]
        for message in clear_tool_uses(conversation(["a", "b"]), keep=0, clear_inputs=True).messages
        if message["role"] == "assistant"
    )


def test_what_saves_too_little_is_not_done() -> None:
    before = conversation(["a"] * 5)
    assert clear_tool_uses(before, at_least_tokens=100_000).messages == before


def test_old_thinking_goes_and_the_last_turns_stays() -> None:
    before = conversation(["a"] * 4, thinking=True)
    edited = clear_thinking(before, keep=1)
    assert edited.count == 3 and edited.tokens > 0
    kept = [block for message in edited.messages for block in message["content"] if isinstance(block, dict)]
    assert [block["thinking"] for block in kept if block["type"] == "thinking"] == ["hm 3"]
    assert clear_thinking(before, keep=None).messages == before
    only = [{"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}]}]
    assert clear_thinking([*only, *before], keep=1).messages[0] == only[0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=8), st.integers(0, 5), st.booleans(), st.booleans())
def test_an_edited_conversation_keeps_its_shape(names: list[str], keep: int, inputs: bool, keep_last: bool) -> None:
    before = conversation(names, thinking=True)[: -1 if keep_last and names else None]
    edited = clear_tool_uses(before, keep=keep, clear_inputs=inputs).messages
    assert [message["role"] for message in edited] == [message["role"] for message in before]
    assert _ids(edited) == _ids(before) and estimate(edited) <= estimate(before)
    asked = asking(before, keep_last=keep_last and bool(names))
    assert asked[-1]["role"] == "user" and all(one["role"] != two["role"] for one, two in pairwise(asked))
    assert [one for one in _ids(smaller(before)) if one] == [one for one in _ids(before) if one]


def _ids(messages: list[dict[str, Any]]) -> list[str]:
    blocks = [block for message in messages if isinstance(message["content"], list) for block in message["content"]]
    return [block.get("id") or block.get("tool_use_id") or "" for block in blocks]


def test_what_a_system_said_stands_behind_the_summary() -> None:
    system = {"role": "system", "content": [{"type": "text", "text": "Answer in French."}]}
    before: list[dict[str, Any]] = [{"role": "user", "content": "go"}, system, *conversation(["a"])[1:2]]
    first, second, last = compacted(before, "the gist", keep_last=True)
    assert "the gist" in first["content"][0]["text"] and second == system and last == before[-1]
    assert [message["role"] for message in asking(before, keep_last=True)] == ["user", "system"]


def test_a_summary_must_be_complete() -> None:
    whole = {"stop_reason": "end_turn", "content": [{"type": "text", "text": " gist "}]}
    assert summary(whole) == "gist"
    for broken in ({**whole, "stop_reason": "max_tokens"}, {**whole, "content": []}):
        assert summary(broken) is None


def test_it_is_due_by_what_was_used_and_what_came_since() -> None:
    assert is_due(900, [], 1000) and not is_due(700, [], 1000)
    assert is_due(700, [{"type": "text", "text": "x" * 1000}], 1000)
    assert not is_due(0, [{"type": "text", "text": "x" * 100_000}], 1000)  # nothing was asked yet: the model may judge


def test_only_what_is_too_long_spills_and_pictures_stay() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aa"}}
    assert spilled_text([{"type": "text", "text": "x" * MOST_CHARACTERS}]) is None
    content: list[dict[str, Any]] = [
        {"type": "text", "text": "y" * MOST_CHARACTERS},
        picture,
        {"type": "text", "text": "z"},
    ]
    text = spilled_text(content)
    assert text is not None and text.endswith("\nz")
    short = shortened(content, text, "/mnt/somewhere.txt")
    assert "/mnt/somewhere.txt" in short[0]["text"] and len(short[0]["text"]) < 21_000 and short[1] == picture
    assert "not kept" in shortened(content, text, None)[0]["text"]
