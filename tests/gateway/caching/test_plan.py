"""Where breakpoints go, and that nothing else of a request changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.calls import Call
from freehold.errors import Misconfigured
from freehold.gateway.caching.cacher import Cacher, CachingSettings, Planned
from freehold.gateway.caching.habits import Habit, Prices
from freehold.gateway.caching.layout import lay_out
from freehold.gateway.caching.marking import marked
from freehold.gateway.caching.memory import Memory
from freehold.gateway.caching.plan import SLOTS, Mark
from freehold.gateway.caching.unmarking import unmarked
from freehold.ledger.rates import Rates
from freehold.wire.envelopes import parse_fields
from tests.gateway.routing.calls import call_of

SONNET = "claude-sonnet-5-5"
NOW_US = 1_795_000_000_000_000
MINUTE_US = 60_000_000
LONG = "All work and no play makes Jack a dull boy. " * 120
TOOL = {"name": "note", "description": LONG, "input_schema": {"type": "object"}}
PRICES = Prices(1.25, 2.0, 0.05)


class Route:
    """One application and the cacher that learns from it."""

    def __init__(self) -> None:
        self.cacher = Cacher(CachingSettings(caching="auto"), Rates.load())
        self.now_us = NOW_US

    def ask(self, call: Call, after_us: int = 0) -> Planned:
        self.now_us += after_us
        planned = self.cacher.plan(call, self.now_us)
        assert planned is not None
        self.cacher.begun(planned, self.now_us)
        return planned

    def sent(self, call: Call, planned: Planned) -> dict[str, Any]:
        body, fields = self.cacher.marked(call, planned)
        assert parse_fields(bytes(body)) == dict(fields)
        made: dict[str, Any] = json.loads(body)
        return made


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def turns(count: int) -> list[dict[str, Any]]:
    made = [user("Begin.")]
    for number in range(count):
        made += [{"role": "assistant", "content": f"Answer {number}."}, user(f"Question {number}. {LONG[:400]}")]
    return made


def test_a_conversation_is_read_up_to_its_last_turn() -> None:
    route = Route()
    for count in range(1, 6):
        call = call_of(SONNET, turns(count), system=LONG, tools=[TOOL])
        planned = route.ask(call, 20_000_000)
        sent = route.sent(call, planned)
    assert sent["cache_control"] == {"type": "ephemeral"}
    assert planned.plan.warm_at >= len(planned.layout.blocks) - 3
    assert sent["messages"] == turns(5), "nothing of the conversation is touched"


def test_what_is_asked_for_once_is_not_written_after_a_few_trials() -> None:
    route = Route()
    wrote = []
    for number in range(20):
        call = call_of(SONNET, [user(f"{number} {LONG} {LONG}")])
        wrote.append(bool(route.ask(call, 10_000_000).plan.marks))
    assert sum(wrote) <= 3
    assert not any(wrote[4:])


def test_a_poll_every_six_minutes_is_kept_for_an_hour_and_one_every_minute_for_five() -> None:
    for gap_us, ttl in ((6 * MINUTE_US, "1h"), (MINUTE_US, None)):
        route = Route()
        for number in range(6):
            call = call_of(SONNET, [user(f"Anything new? {number}")], system=LONG, tools=[TOOL])
            planned = route.ask(call, gap_us)
        sent = route.sent(call, planned)
        assert sent["system"][0]["cache_control"].get("ttl") == ttl
        assert planned.plan.warm_at == 1


def test_a_clock_in_the_system_prompt_leaves_the_tools_warm() -> None:
    route = Route()
    for number in range(8):
        call = call_of(SONNET, [user("Hello.")], system=f"It is {number}. {LONG}", tools=[TOOL])
        planned = route.ask(call, 20_000_000)
    assert [mark.at for mark in planned.plan.marks] == [0], "the tools alone"


def test_marks_never_break_the_rules_of_the_api() -> None:
    route = Route()
    for count, gap_us in ((1, MINUTE_US), (2, 7 * MINUTE_US), (3, 7 * MINUTE_US), (30, 7 * MINUTE_US), (31, MINUTE_US)):
        call = call_of(SONNET, turns(count), system=LONG, tools=[TOOL])
        planned = route.ask(call, gap_us)
        marks = planned.plan.marks
        assert len(marks) <= SLOTS
        hours = [mark.hour for mark in marks]
        assert hours == sorted(hours, reverse=True), "hours come before minutes"


def test_a_prefix_far_behind_gets_a_breakpoint_so_that_it_is_found() -> None:
    route = Route()
    route.ask(call_of(SONNET, turns(3), system=LONG, tools=[TOOL]))
    planned = route.ask(call_of(SONNET, turns(20), system=LONG, tools=[TOOL]), MINUTE_US)
    assert planned.plan.warm_at in [mark.at for mark in planned.plan.marks]


def test_short_requests_and_odd_ones_are_left_alone() -> None:
    cacher = Route().cacher
    assert cacher.plan(call_of(SONNET, [user("Hello.")]), NOW_US) is None
    for raw in (b'"' + b"x" * 2000 + b'"', b"[]", b"[5]", b'[{"role":"user"}]' + b" " * 2000):
        assert cacher.plan(call_of(SONNET, [], messages=raw), NOW_US) is None


_text = st.text(max_size=12)
_block = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": st.text(min_size=1, max_size=12)}),
    st.fixed_dictionaries({"type": st.just("tool_result"), "tool_use_id": _text, "content": _text}),
)
_message = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant"]),
        "content": st.one_of(_text, st.lists(_block, min_size=1, max_size=3)),
    }
)


@given(
    st.lists(_message, min_size=1, max_size=5),
    st.one_of(st.none(), _text, st.lists(_block, min_size=1, max_size=3)),
    st.lists(st.fixed_dictionaries({"name": _text, "input_schema": st.just({})}), max_size=3),
    st.data(),
)
def test_a_marked_request_is_the_same_but_for_its_marks(
    messages: list[Any], system: Any, tools: list[Any], data: st.DataObject
) -> None:
    members = {**({"system": system} if system is not None else {}), **({"tools": tools} if tools else {})}
    call = call_of(SONNET, messages, **members)
    layout = lay_out(call)
    assert layout is not None
    places = [at for at, block in enumerate(layout.blocks) if block.markable]
    chosen = data.draw(st.lists(st.sampled_from(places), unique=True, max_size=4)) if places else []
    marks = [Mark(at, False) for at in sorted(chosen)]
    body, fields = marked(call.body, call.fields, layout, marks)
    assert parse_fields(body) == dict(fields)
    assert body.count(b'"cache_control"') == len(marks)
    assert json.loads(unmarked(body, fields)) == _with_blocks(json.loads(call.body), layout, marks)


def _with_blocks(request: dict[str, Any], layout: Any, marks: list[Mark]) -> dict[str, Any]:
    """As it was, with the plain strings that were marked written as the blocks that they stand for."""
    last = len(layout.blocks) - 1
    for mark in marks:
        place = layout.blocks[mark.at].place
        if place.block < 0 and mark.at != last and place.member == "messages":
            message = request["messages"][place.item]
            message["content"] = [{"type": "text", "text": message["content"]}]
        elif place.member == "system" and place.item < 0:
            request["system"] = [{"type": "text", "text": request["system"]}]
    return request


def test_marks_of_clients_are_taken_out_where_nobody_shall_cache() -> None:
    block = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    use = {"type": "tool_use", "id": "t", "name": "n", "input": {"cache_control": 1, "content": [{"cache_control": 2}]}}
    messages = [user("a"), {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    call = call_of(SONNET, messages, system=[block], cache_control={"type": "ephemeral"})
    clean = json.loads(unmarked(call.body, call.fields))
    assert "cache_control" not in clean
    assert clean["system"] == [{"type": "text", "text": "x"}]
    assert clean["messages"][1]["content"][0]["input"] == use["input"], "what a tool was given is no mark"
    assert clean["messages"][2]["content"][0]["content"] == [{"type": "text", "text": "x"}]


def test_what_keeping_is_worth_follows_from_the_gaps() -> None:
    def best(soon: int, late: int, never: int) -> str:
        habit = Habit(((0.5, 0.5),) * 3)
        for chances in habit.chances:
            chances.soon, chances.not_soon, chances.late, chances.never = soon, late + never, late, never
            chances.waits[1] = late
        worth = habit.worth(PRICES)[0]
        return min(("none", "five", "hour", "kept_alive"), key=lambda name: getattr(worth, name))

    assert best(90, 5, 5) in ("five", "kept_alive")
    assert best(90, 0, 10) == "five"
    assert best(40, 50, 10) in ("hour", "kept_alive")
    assert best(2, 90, 8) in ("hour", "kept_alive")
    assert best(5, 5, 90) == "none"


def test_a_setting_that_does_not_fit_stops_the_start() -> None:
    with pytest.raises(Misconfigured, match="caching_routes"):
        Cacher(CachingSettings(caching_routes={"*": "maybe"}), Rates.load())


def test_the_first_pattern_that_fits_names_the_mode() -> None:
    routes = {"claude-opus-*": "off", "claude-*": "auto"}
    cacher = Cacher(CachingSettings(caching_routes=routes), Rates.load())
    assert [cacher.mode(model) for model in ("claude-opus-5-5", SONNET, "other")] == ["off", "auto", "client"]


def test_an_occurrence_that_was_followed_is_not_counted_as_waiting() -> None:
    memory, minute_us = Memory(), 60_000_000

    def waiting() -> int:
        chances = memory.habit("route", "talk").chances
        assert all(one.open >= 0 and one.open_late >= 0 for one in chances)
        return sum(one.open + one.open_late for one in chances)

    def seen(key: int, now_us: int) -> None:
        memory.settle(now_us)
        memory.count(key, memory.see(key, "talk", now_us), "route")

    for minute in range(30):
        seen(1, minute * minute_us)
        assert waiting() == 1, "one prefix waits once, however often it was seen"
    seen(2, 30 * minute_us)
    assert waiting() == 2
    memory.settle(200 * minute_us)
    assert waiting() == 0
    chances = memory.habit("route", "talk").chances
    assert [one.soon for one in chances] == [1, 1, 27]
    assert [one.not_soon for one in chances] == [one.never for one in chances] == [1, 0, 1]
