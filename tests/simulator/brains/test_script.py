"""Scenarios: which step answers, what it does, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.clock import HandClock
from freehold.simulator.brains.script import BrokenScenario, Script
from freehold.simulator.upstream import Simulator
from tests.simulator.kit import ask, assistant, body, call_of, calls_of, message, results, text_of, tool, user

_SCENARIO = """
name: refund
steps:
  - on: {text: refund}
    think: They want money back.
    say: Let me look that up.
    call: {tool: get_order, input: {order_id: ord_1, note: "asked: {{text}}"}}
  - on: {tool_result: get_order, error: true}
    say: That order does not exist.
  - on: {tool_result: get_order}
    say: ["Order: {{result}}.", "Refunded."]
  - on: {turn: 3}
    wait: 2
    fail: {status: 529, retry_after_s: 7}
  - on: {text_matches: "^weapons?"}
    refuse: Not that.
  - say: Anything else?
"""


def _simulator(text: str = _SCENARIO) -> Simulator:
    return Simulator(HandClock(), brain=Script.parse(text))


async def test_the_first_step_that_fits_answers() -> None:
    one = _simulator()
    request = body("I want a REFUND", tools=[tool("get_order", order_id="string")], model="claude-haiku-5-5")
    first = await message(one, request)
    assert [block["type"] for block in first["content"]] == ["thinking", "text", "tool_use"]
    assert calls_of(first) == [("get_order", {"order_id": "ord_1", "note": "asked: I want a REFUND"})]
    for texts, errors, said in (
        ("ord_1 over 5 $", (), "Order: ord_1 over 5 $.\nRefunded."),
        ("no", (0,), "That order does not exist."),
    ):
        messages = [*request["messages"], assistant(*first["content"]), results(first, texts, errors=errors)]
        assert text_of(await message(one, {**request, "messages": messages})) == said
    assert text_of(await message(one, body("Hello"))) == "Anything else?"


async def test_a_step_can_fail_and_refuse() -> None:
    clock = HandClock()
    one = Simulator(clock, brain=Script.parse(_SCENARIO.replace("wait: 2", "wait: 0")))
    third = body("a", assistant("b"), "c", assistant("d"), "e")
    async with one(call_of(third)) as reply:
        assert reply.status == 529 and dict(reply.headers)[b"retry-after"] == b"7"
    refused = await message(one, body("weapons, please"))
    assert refused["stop_reason"] == "refusal"
    assert refused["stop_details"] == {"type": "refusal", "category": None, "explanation": "Not that."}


async def test_a_request_without_a_step_is_an_error_that_says_which() -> None:
    status, answer = await ask(_simulator("steps: [{on: {text: refund}, say: ok}]"), body("something else"))
    assert status == 400
    assert "no step for this request: turn 1, text 'something else'" in answer["error"]["message"]


async def test_waiting_takes_time_on_the_clock() -> None:
    import asyncio

    clock = HandClock()
    one = Simulator(clock, brain=Script.parse("steps: [{say: a, wait: 5}]"))
    asked = asyncio.create_task(message(one, body(user("x"))))
    await asyncio.sleep(0)
    assert not asked.done()
    await clock.advance(5)
    assert text_of(await asked) == "a"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "x.yaml:1: the scenario is empty"),
        ("steps: []", "x.yaml:1: `steps` must be a list of at least one step"),
        (
            "steps:\n  - say: a\n  - says: b",
            "x.yaml:3: a step has no 'says'; known are call, fail, on, refuse, say, think, wait",
        ),
        ("steps:\n  - on: {txt: a}\n    say: b", "x.yaml:2: `on` has no 'txt'"),
        ("steps:\n  - on: {text: a}", "x.yaml:2: a step needs one of think, say"),
        ("steps:\n  - say: a\n    wait: soon", "x.yaml:3: wait must be a number from 0 to 600"),
        ("steps:\n  - say: 5", "x.yaml:2: say must be a text; put it in quotes"),
        ("steps:\n  - call: {input: {}}", "x.yaml:2: `call` needs `tool`"),
        ("steps:\n  - call:\n      tool: a\n      input: [1]", "x.yaml:4: `input` must be a mapping"),
        ("steps:\n  - fail: {status: 200}", "x.yaml:2: status must be a number from 400 to 599"),
        ("steps:\n  - fail: {status: 500}\n    say: a", "x.yaml:2: `fail` answers instead of anything else"),
        ("steps:\n  - on: {text_matches: '('}\n    say: a", "x.yaml:2: text_matches is no regular expression"),
        ("steps:\n  - on: {error: true}\n    say: a", "x.yaml:2: `error` belongs to `tool_result`"),
        ("steps:\n  - say: a\n    say: b", "x.yaml:3: 'say' stands here twice"),
        ("steps:\n  - say: [a", "x.yaml:2: "),
        ("- say: a", "x.yaml:1: a scenario must be a mapping"),
    ],
)
def test_a_broken_scenario_names_the_line_and_what_would_be_right(text: str, complaint: str) -> None:
    with pytest.raises(BrokenScenario) as caught:
        Script.parse(text, "x.yaml")
    assert str(caught.value).startswith(complaint)


def test_a_scenario_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(_SCENARIO)
    assert Script.load(path).name == "refund"
    with pytest.raises(BrokenScenario, match="missing"):
        Script.load(tmp_path / "missing.yaml")
