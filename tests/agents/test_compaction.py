"""Sessions that grow too long: they are summarised, go on from the summary, and keep it whatever happens."""

from __future__ import annotations

import asyncio
from typing import Any

from freehold.context.compaction import INSTRUCTIONS
from freehold.errors import BillingRefused, InvalidRequest, Overloaded
from tests.agents.conftest import MakesHouse
from tests.agents.house import Json, Script, calls, last_stop, of_type, said, text, types

LONG: Json = {"usage": {"input_tokens": 850}}
WINDOW = 1_000
TOO_LONG = InvalidRequest("prompt is too long: 1200 tokens > 1000 maximum")


def words(message: Json) -> list[str]:
    return [block.get("text", block["type"]) for block in message["content"]]


async def test_a_long_session_is_summarised_before_its_next_request(make_house: MakesHouse) -> None:
    script = Script([text("one") | LONG, text("the gist"), text("two")])
    house = await make_house(script, window_tokens=WINDOW)
    session = await house.session()
    await house.say(session, "first")
    await house.idle(session)
    await house.say(session, "second")
    log = await house.idle(session, 2)
    assert types(log)[-11:-3] == [
        "session.status_running",
        "session.thread_status_running",
        "span.model_request_start",
        "span.model_request_end",
        "agent.thread_context_compacted",
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
    ]
    asked = script.asked[1]
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "user"]
    assert words(asked["messages"][-1]) == [INSTRUCTIONS] and asked["tool_choice"] == {"type": "none"}
    assert asked["tools"] == script.asked[0]["tools"] and asked["system"] == script.asked[0]["system"]
    (only,) = script.asked[2]["messages"]
    assert only["role"] == "user" and "the gist" in words(only)[0] and words(only)[1] == "second"
    assert [said(event) for event in of_type(log, "agent.message")] == ["one", "two"]  # the summary is not said
    assert of_type(log, "agent.thread_context_compacted")[0].keys() == {"id", "type", "processed_at"}


async def test_calls_that_are_being_answered_stay_whole(make_house: MakesHouse) -> None:
    script = Script([text("one"), calls(("bash", {})) | LONG, text("the gist"), text("done")])
    house = await make_house(script, window_tokens=WINDOW)
    session = await house.session()
    await house.say(session)
    await house.idle(session)
    await house.say(session, "run it")
    await house.idle(session, 2)
    first, call, result = script.asked[3]["messages"]
    assert "the gist" in words(first)[0]
    assert call["content"][0]["type"] == "tool_use" and result["content"][0]["type"] == "tool_result"
    assert [message["role"] for message in script.asked[2]["messages"]] == ["user", "assistant", "user"]
    assert words(script.asked[2]["messages"][-1]) == ["run it", INSTRUCTIONS]


async def test_a_summary_survives_whoever_wrote_it(make_house: MakesHouse) -> None:
    script = Script([text("one") | LONG, text("the gist"), text("two")])
    house = await make_house(script, window_tokens=WINDOW)
    session = await house.session()
    await house.say(session, "first")
    await house.idle(session)
    await house.say(session, "second")
    await house.idle(session, 2)
    await house.driver.stop()
    again = await make_house(Script([text("three")]), window_tokens=WINDOW)
    await again.say(session, "third")
    await again.idle(session, 3)
    messages = again.script.asked[0]["messages"]
    assert "the gist" in words(messages[0])[0] and words(messages[-1]) == ["third"] and len(messages) == 3


async def test_a_conversation_that_the_model_refuses_for_its_length_is_summarised(make_house: MakesHouse) -> None:
    script = Script([text("one"), TOO_LONG, TOO_LONG, text("the gist"), text("two")])
    house = await make_house(script)
    session = await house.session()
    await house.say(session, "x" * 10_000)
    await house.idle(session)
    await house.say(session, "second")
    log = await house.idle(session, 2)
    assert last_stop(log) == {"type": "end_turn"} and not of_type(log, "session.error")
    assert "are left out" in words(script.asked[3]["messages"][0])[0]  # it was too long to be summarised, too
    assert len(script.asked[4]["messages"]) == 1


async def test_what_is_too_long_even_after_a_summary_is_said(make_house: MakesHouse) -> None:
    script = Script([text("one"), TOO_LONG, text("the gist"), TOO_LONG])
    house = await make_house(script)
    session = await house.session()
    await house.say(session)
    await house.idle(session)
    await house.say(session, "second")
    log = await house.idle(session, 2)
    (error,) = of_type(log, "session.error")
    assert error["error"]["type"] == "compaction_limit_reached_error"
    assert last_stop(log) == {"type": "retries_exhausted"} and len(script.asked) == 4


async def test_a_summary_that_cannot_be_had_ends_the_turn(make_house: MakesHouse) -> None:
    script = Script([text("one") | LONG, {"content": [], "stop_reason": "refusal"}])
    house = await make_house(script, window_tokens=WINDOW)
    session = await house.session()
    await house.say(session)
    await house.idle(session)
    await house.say(session)
    log = await house.idle(session, 2)
    assert [event["error"]["type"] for event in of_type(log, "session.error")] == ["compaction_limit_reached_error"]


async def test_why_a_summary_was_refused_is_said_in_the_words_of_the_upstream(make_house: MakesHouse) -> None:
    script = Script([text("one") | LONG, BillingRefused("no credit")])
    house = await make_house(script, window_tokens=WINDOW)
    session = await house.session()
    await house.say(session)
    await house.idle(session)
    await house.say(session)
    log = await house.idle(session, 2)
    (error,) = of_type(log, "session.error")
    assert (error["error"]["type"], error["error"]["message"]) == ("billing_error", "no credit")
    assert last_stop(log) == {"type": "retries_exhausted"} and len(script.asked) == 2


async def test_a_busy_model_is_asked_for_the_summary_again(make_house: MakesHouse) -> None:
    script = Script([text("one") | LONG, Overloaded("busy"), text("the gist"), text("two")])
    house = await make_house(script, window_tokens=WINDOW)
    session = await house.session()
    await house.say(session)
    await house.idle(session)
    await house.say(session)
    await house.tries_again(session)
    log = await house.idle(session, 2)
    assert [event["error"]["retry_status"]["type"] for event in of_type(log, "session.error")] == ["retrying"]
    assert types(log).count("agent.thread_context_compacted") == 1 and last_stop(log) == {"type": "end_turn"}


async def test_an_interrupt_stops_a_summary(make_house: MakesHouse) -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def endless(_: Json) -> Json:
        begun.set()
        await never.wait()
        return text("never")

    lines: Any = [text("one") | LONG, endless, text("the gist"), text("two")]
    house = await make_house(Script(lines), window_tokens=WINDOW)
    session = await house.session()
    await house.say(session)
    await house.idle(session)
    await house.say(session, "second")
    await begun.wait()
    await house.send(session, {"type": "user.interrupt"})
    log = await house.idle(session, 2)
    assert last_stop(log) == {"type": "end_turn"} and "agent.thread_context_compacted" not in types(log)
    starts = [event["id"] for event in of_type(log, "span.model_request_start")]
    assert [event["model_request_start_id"] for event in of_type(log, "span.model_request_end")] == starts


async def test_a_cap_that_the_summary_reaches_stops_the_session(make_house: MakesHouse) -> None:
    script = Script([text("one") | LONG, text("the gist"), text("never asked")])
    house = await make_house(script, window_tokens=WINDOW)
    session = await house.session(cap_cents=1)
    house.cost_nanodollars = 6_000_000
    await house.say(session)
    await house.idle(session)
    await house.say(session)
    log = await house.idle(session, 2)
    assert last_stop(log) == {"type": "budget_reached"} and len(script.asked) == 2
