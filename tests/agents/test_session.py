"""The fold: whatever legal thing happened, the model can be asked, and nothing it said is lost or changed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.agents.session import Entry, Session, folded
from freehold.agents.steps import Ask, Finish, Interrupt, Rest, RunTools, next_step
from tests.agents.walks import Walk

seeds = st.integers(0, 2**32)


def pairing_problems(messages: list[dict[str, Any]]) -> list[str]:
    """What the Messages API would refuse (Claude API docs, tool use)."""
    problems = []
    if messages and messages[0]["role"] != "user":
        problems.append("the first message is not the user's")
    for index, message in enumerate(messages):
        if index and messages[index - 1]["role"] == message["role"]:
            problems.append(f"{index}: two {message['role']} messages in a row")
        kinds = [block["type"] for block in message["content"]]
        if not kinds:
            problems.append(f"{index}: empty")
        if message["role"] == "user":
            last_result = max((i for i, kind in enumerate(kinds) if kind == "tool_result"), default=-1)
            if kinds[: last_result + 1] != ["tool_result"] * (last_result + 1):
                problems.append(f"{index}: results are not first")
            asked = _ids(messages[index - 1], "tool_use", "id") if index else []
            if _ids(message, "tool_result", "tool_use_id") != asked:
                problems.append(f"{index}: results do not answer the calls, in order")
        elif message["role"] == "system":
            around = [message["role"] for message in messages[index - 1 : index + 2]]
            if around not in (["user", "system"], ["user", "system", "assistant"]):
                problems.append(f"{index}: a system message in a wrong place")
        elif _ids(message, "tool_use", "id") and index == len(messages) - 1:
            problems.append(f"{index}: calls without results")
        problems += [
            f"{index}: an input is no object" for b in message["content"] if not isinstance(b.get("input", {}), dict)
        ]
        problems += [
            f"{index}: blank text" for b in message["content"] if b["type"] == "text" and not b["text"].strip()
        ]
    return problems


def _ids(message: dict[str, Any], kind: str, key: str) -> list[str]:
    return [block[key] for block in message["content"] if block["type"] == kind]


def facts(session: Session) -> dict[str, Any]:
    return {name: getattr(session, name) for name in Session.__slots__}


@settings(max_examples=300, deadline=None)
@given(seeds, st.integers(1, 60))
def test_any_legal_log_folds_to_a_transcript_that_the_api_takes(seed: int, moves: int) -> None:
    walk = Walk(seed)
    for _ in range(moves):
        walk.play(1)
        if isinstance(next_step(walk.session), Ask):
            messages = walk.session.transcript()
            assert pairing_problems(messages) == []
            assert messages[-1]["role"] in ("user", "system") or walk.session.last_stop == "pause_turn"


@settings(max_examples=150, deadline=None)
@given(seeds, st.integers(1, 40), st.floats(0, 1))
def test_folding_a_prefix_and_then_the_rest_is_folding_all(seed: int, moves: int, share: float) -> None:
    log = Walk(seed).play(moves)
    cut = round(len(log) * share)
    first = folded(log[:cut])
    first.transcript() if not first.open_calls else None
    assert facts(folded(log[cut:], first)) == facts(folded(log))


@settings(max_examples=150, deadline=None)
@given(seeds, st.integers(1, 60))
def test_every_call_gets_exactly_one_result_and_every_span_an_end(seed: int, moves: int) -> None:
    walk = Walk(seed)
    log = walk.play(moves)
    calls = [entry.id for entry in log if entry.type.endswith("tool_use")]
    keys = ("tool_use_id", "mcp_tool_use_id", "custom_tool_use_id")
    results: list[Row] = [
        entry.body[key] for entry in log if "result" in entry.type for key in keys if key in entry.body
    ]
    assert len(results) == len(set(results))
    assert set(calls) - set(results) == {call.id for call in walk.session.open_calls}
    starts = [entry.id for entry in log if entry.type == "span.model_request_start"]
    ends = [entry.body["model_request_start_id"] for entry in log if entry.type == "span.model_request_end"]
    assert ends == starts


@settings(max_examples=100, deadline=None)
@given(seeds)
def test_a_session_that_is_left_alone_comes_to_rest_or_waits_for_a_person(seed: int) -> None:
    walk = Walk(seed)
    walk.play(20)
    for _ in range(400):
        if isinstance(next_step(walk.session), Rest):
            break
        walk._server()
    assert walk.session.status == "idle"
    assert walk.session.stop_reason is not None or not walk.session.begun


Row = tuple[str, dict[str, Any], dict[str, Any] | None]


def log_of(*events: Row) -> list[Entry]:
    return [
        Entry(seq, f"sevt_{seq}", kind, {"id": f"sevt_{seq}", "type": kind, **body}, hidden, seq * 1_000_000)
        for seq, (kind, body, hidden) in enumerate(events, 1)
    ]


SAID: Row = ("user.message", {"content": [{"type": "text", "text": "hello"}]}, None)
RUNNING: Row = ("session.status_running", {}, None)
THINKING = {"type": "thinking", "thinking": "", "signature": "EqRkc2lnbmF0dXJl"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": "ls"}}
USE: Row = (
    "agent.tool_use",
    {"name": "bash", "input": {"command": "ls"}, "evaluated_permission": "allow"},
    {"model_id": "toolu_1"},
)


def end(content: list[dict[str, Any]], stop: str, start: int) -> Row:
    body = {"model_request_start_id": f"sevt_{start}", "model_usage": {}, "is_error": False}
    return ("span.model_request_end", body, {"content": content, "stop_reason": stop})


def test_assistant_blocks_come_back_as_they_were_with_their_signatures() -> None:
    start: Row = ("span.model_request_start", {}, None)
    result: Row = ("agent.tool_result", {"tool_use_id": "sevt_4", "content": [{"type": "text", "text": "a.csv"}]}, None)
    session = folded(log_of(SAID, RUNNING, start, USE, end([THINKING, CALL], "tool_use", 3), result))
    assert session.transcript() == [
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        {"role": "assistant", "content": [THINKING, CALL]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "a.csv"}]}
            ],
        },
    ]
    assert next_step(session) == Ask()


def test_an_interrupt_stops_a_running_session_and_is_nothing_to_an_idle_one() -> None:
    interrupt: Row = ("user.interrupt", {}, None)
    assert next_step(folded(log_of(SAID, RUNNING, interrupt))) == Interrupt()
    idle: Row = ("session.status_idle", {"stop_reason": {"type": "end_turn"}}, None)
    assert next_step(folded(log_of(SAID, RUNNING, idle, interrupt))) == Rest()


def test_a_call_that_asks_waits_until_it_is_confirmed() -> None:
    asks: Row = (USE[0], {**USE[1], "evaluated_permission": "ask"}, USE[2])
    start: Row = ("span.model_request_start", {}, None)
    log = log_of(SAID, RUNNING, start, asks, end([CALL], "tool_use", 3))
    step = next_step(folded(log))
    assert step == Finish({"type": "requires_action", "event_ids": ["sevt_4"]}, waiting="kept")
    allow: Row = ("user.tool_confirmation", {"tool_use_id": "sevt_4", "result": "allow"}, None)
    session = folded(log_of(SAID, RUNNING, start, asks, end([CALL], "tool_use", 3), allow))
    step = next_step(session)
    assert isinstance(step, RunTools)
    assert [call.confirmed for call in step.calls] == ["allow"]


def test_a_result_that_comes_twice_counts_once() -> None:
    start: Row = ("span.model_request_start", {}, None)
    results: list[Row] = [
        ("agent.tool_result", {"tool_use_id": "sevt_4", "content": [{"type": "text", "text": text}]}, None)
        for text in ("first", "second")
    ]
    session = folded(log_of(SAID, RUNNING, start, USE, end([CALL], "tool_use", 3), *results))
    assert session.transcript()[-1]["content"][0]["content"] == [{"type": "text", "text": "first"}]


def test_running_time_is_counted_from_running_to_idle() -> None:
    idle: Row = ("session.status_idle", {"stop_reason": {"type": "end_turn"}}, None)
    session = folded(log_of(SAID, RUNNING, SAID, SAID, idle, SAID, RUNNING))
    assert session.active_us == 3_000_000
    assert session.active_until(9_000_000) == 5_000_000


def test_rows_out_of_order_are_refused() -> None:
    log = log_of(SAID, RUNNING)
    with pytest.raises(ValueError, match="row 1 comes after row 2"):
        folded([log[1], log[0]])
