"""What clients say while a session works: messages that wait, interrupts, confirmations, results of their own tools."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from freehold.agents.events import INTERRUPTED
from freehold.errors import InvalidRequest, NotFound
from tests.agents.conftest import MakesHouse
from tests.agents.house import BoxFunctions, Json, Script, calls, last_stop, of_type, said, text, types
from tests.contract.manifest import shows_difference

INTERRUPT: Json = {"type": "user.interrupt"}


def confirm(call: Json, result: str = "allow", **more: str) -> Json:
    return {"type": "user.tool_confirmation", "tool_use_id": call["id"], "result": result, **more}


def answer(call: Json, words: str, **more: Any) -> Json:
    content = [{"type": "text", "text": words}]
    return {"type": "user.custom_tool_result", "custom_tool_use_id": call["id"], "content": content, **more}


def message(words: str) -> Json:
    return {"type": "user.message", "content": [{"type": "text", "text": words}]}


async def test_a_message_that_comes_while_it_works_waits_and_is_taken_after_the_results(make_house: MakesHouse) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Mapping[str, Any]) -> str:
        begun.set()
        await go_on.wait()
        return "slow"

    script = Script([calls(("bash", {})), text("both done")])
    house = await make_house(script, boxes=BoxFunctions(bash=slow))
    session = await house.session()
    await house.say(session, "first")
    await begun.wait()
    waiting = await house.say(session, "second")
    assert waiting["processed_at"] is None
    go_on.set()
    log = await house.idle(session)
    taken = next(event for event in log if event["id"] == waiting["id"])
    assert taken["processed_at"] is not None
    assert types(log)[-8:-5] == ["agent.tool_result", "user.message", "span.model_request_start"]
    assert [block["type"] for block in script.asked[1]["messages"][2]["content"]] == ["tool_result", "text"]
    assert types(log).count("session.status_idle") == 1


async def test_a_message_that_comes_during_the_last_reply_goes_on_with_the_turn(make_house: MakesHouse) -> None:
    script = Script([text("one"), text("two")], waits=True)
    house = await make_house(script)
    session = await house.session()
    await house.say(session, "first")
    await house.until(session, lambda log: "span.model_request_start" in types(log))
    await house.say(session, "second")
    script.gate.set()
    log = await house.idle(session)
    assert [said(event) for event in of_type(log, "agent.message")] == ["one", "two"]
    assert types(log).count("session.status_idle") == 1
    assert [message["role"] for message in script.asked[1]["messages"]] == ["user", "assistant", "user"]


async def test_an_interrupt_stops_the_model_at_once(make_house: MakesHouse) -> None:
    script = Script([text("never said"), text("yes?")], waits=True)
    house = await make_house(script)
    session = await house.session()
    await house.say(session)
    await house.until(session, lambda log: "span.model_request_start" in types(log))
    sent = await house.send(session, INTERRUPT)
    assert sent[0]["processed_at"] is not None
    log = await house.idle(session)
    assert types(log)[-5:] == [
        "user.interrupt",
        "span.model_request_end",
        "session.thread_status_idle",
        "session.usage",
        "session.status_idle",
    ]
    assert last_stop(log) == {"type": "end_turn"}
    assert of_type(log, "agent.message") == []
    script.gate.set()
    await house.say(session, "are you there")
    log = await house.idle(session, 2)
    assert said(of_type(log, "agent.message")[0]) == "yes?"


@shows_difference("interrupted-custom-tools")
async def test_an_interrupt_stops_tools_and_each_open_call_gets_an_error_result(make_house: MakesHouse) -> None:
    begun = asyncio.Event()

    async def endless(_: Mapping[str, Any]) -> str:
        begun.set()
        await asyncio.Event().wait()
        return "never"

    script = Script([calls(("bash", {}), ("read", {}), ("weather", {})), text("yes?")])
    house = await make_house(script, boxes=BoxFunctions(bash=endless))
    session = await house.session()
    await house.say(session)
    await begun.wait()
    await house.send(session, INTERRUPT, message("do something else"))
    log = await house.idle(session, 2)
    results = of_type(log, "agent.tool_result")
    assert [said(result) for result in results] == ["read done", INTERRUPTED]
    closed = of_type(log, "user.custom_tool_result")[0]
    assert closed["is_error"] and said(closed) == INTERRUPTED
    assert await house.journal(session) == {"bash": "unknown", "read": "done", "weather": "denied"}
    first_idle = types(log).index("session.status_idle")
    assert types(log)[first_idle + 1 : first_idle + 4] == [
        "user.message",
        "session.status_running",
        "session.thread_status_running",
    ]
    shown = script.asked[1]["messages"][2]["content"]
    assert [block["type"] for block in shown] == ["tool_result", "tool_result", "tool_result", "text"]


async def test_an_interrupt_is_nothing_to_an_idle_session(make_house: MakesHouse) -> None:
    house = await make_house(Script([text("hi")]))
    session = await house.session()
    await house.say(session)
    await house.idle(session)
    await house.send(session, INTERRUPT)
    assert types(await house.log(session))[-1] == "user.interrupt"
    assert await house.status(session) == "idle"
    await house.say(session)
    log = await house.idle(session, 2)
    assert len(of_type(log, "agent.message")) == 2


@shows_difference("interrupt-while-it-waits-for-the-client")
async def test_an_interrupt_frees_a_session_that_waits_for_its_client(make_house: MakesHouse) -> None:
    house = await make_house(Script([calls(("weather", {})), text("ok")]))
    session = await house.session()
    await house.say(session)
    await house.idle(session)
    await house.send(session, INTERRUPT)
    log = await house.idle(session, 2)
    assert last_stop(log) == {"type": "end_turn"}
    call = of_type(log, "agent.custom_tool_use")[0]
    with pytest.raises(InvalidRequest, match="answered already"):
        await house.send(session, answer(call, "sunny"))


async def test_an_interrupt_ends_the_wait_for_a_later_try(make_house: MakesHouse) -> None:
    from freehold.errors import Overloaded

    house = await make_house(Script([Overloaded("busy")]))
    session = await house.session()
    await house.say(session)
    await house.until(session, lambda log: "session.status_rescheduled" in types(log))
    await house.send(session, INTERRUPT)
    log = await house.idle(session)
    assert last_stop(log) == {"type": "end_turn"}
    assert types(log).count("span.model_request_start") == 1


async def test_a_call_that_asks_waits_for_allow(make_house: MakesHouse) -> None:
    house = await make_house(Script([calls(("write", {"file_path": "a"})), text("written")]))
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    call = of_type(log, "agent.tool_use")[0]
    assert call["evaluated_permission"] == "ask" and call["evaluation"] == {"type": "always_ask"}
    assert last_stop(log) == {"type": "requires_action", "event_ids": [call["id"]]}
    assert house.boxes.ran == []
    await house.send(session, confirm(call))
    log = await house.idle(session, 2)
    assert house.boxes.ran == [("write", call["id"])]
    assert last_stop(log) == {"type": "end_turn"}


async def test_a_denied_call_is_an_error_with_the_message_of_the_person(make_house: MakesHouse) -> None:
    script = Script([calls(("write", {})), text("I see")])
    house = await make_house(script)
    session = await house.session()
    await house.say(session)
    call = of_type(await house.idle(session), "agent.tool_use")[0]
    await house.send(session, confirm(call, "deny", deny_message="not in production"))
    log = await house.idle(session, 2)
    result = of_type(log, "agent.tool_result")[0]
    assert result["is_error"] and "not in production" in said(result)
    assert house.boxes.ran == []
    assert await house.journal(session) == {"write": "denied"}


@shows_difference("partial-confirmations-run-at-once")
async def test_a_partial_answer_runs_what_it_can_and_goes_idle_with_the_rest(make_house: MakesHouse) -> None:
    house = await make_house(Script([calls(("write", {"n": 1}), ("weather", {}), ("write", {"n": 2})), text("done")]))
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    first, second = of_type(log, "agent.tool_use")
    custom = of_type(log, "agent.custom_tool_use")[0]
    assert last_stop(log)["event_ids"] == [first["id"], custom["id"], second["id"]]
    await house.send(session, confirm(second))
    log = await house.idle(session, 2)
    assert last_stop(log) == {"type": "requires_action", "event_ids": [first["id"], custom["id"]]}
    assert house.boxes.ran == [("write", second["id"])]
    await house.send(session, answer(custom, "sunny"), confirm(first, "deny"))
    log = await house.idle(session, 3)
    assert last_stop(log) == {"type": "end_turn"}
    shown = house.script.asked[1]["messages"][2]["content"]
    assert [block["content"][0]["text"][:5] for block in shown] == ["The u", "sunny", "write"]


async def test_the_result_of_a_custom_tool_may_come_before_the_session_is_idle(make_house: MakesHouse) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Mapping[str, Any]) -> str:
        begun.set()
        await go_on.wait()
        return "slow"

    house = await make_house(
        Script([calls(("weather", {}), ("bash", {})), text("done")]), boxes=BoxFunctions(bash=slow)
    )
    session = await house.session()
    await house.say(session)
    await begun.wait()
    call = of_type(await house.log(session), "agent.custom_tool_use")[0]
    sent = await house.send(session, answer(call, "sunny"))
    assert sent[0]["processed_at"] is not None
    go_on.set()
    log = await house.idle(session)
    assert types(log).count("session.status_idle") == 1
    assert last_stop(log) == {"type": "end_turn"}


async def test_a_message_to_a_session_that_waits_for_its_client_is_heard_after_the_results(
    make_house: MakesHouse,
) -> None:
    script = Script([calls(("weather", {})), text("done")])
    house = await make_house(script)
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    waiting = await house.say(session, "hurry up")
    assert waiting["processed_at"] is None
    assert await house.status(session) == "idle"
    await house.send(session, answer(of_type(log, "agent.custom_tool_use")[0], "sunny"))
    await house.idle(session, 2)
    assert [block["type"] for block in script.asked[1]["messages"][2]["content"]] == ["tool_result", "text"]


async def test_all_events_of_a_request_are_taken_or_none(make_house: MakesHouse) -> None:
    house = await make_house(Script([text("hi")]))
    session = await house.session()
    with pytest.raises(InvalidRequest, match=r"events\.1\.tool_use_id"):
        await house.send(session, message("hello"), confirm({"id": "sevt_none"}))
    assert await house.log(session) == []
    assert await house.status(session) == "idle"


async def test_answers_that_nobody_asked_for_are_refused(make_house: MakesHouse) -> None:
    house = await make_house(Script([calls(("bash", {}), ("write", {}), ("weather", {})), text("done")]))
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    allowed, asking = of_type(log, "agent.tool_use")
    custom = of_type(log, "agent.custom_tool_use")[0]
    for event, complaint in (
        (confirm(allowed), "does not ask"),
        (confirm(custom), "no agent.tool_use"),
        (answer(asking, "x"), "no agent.custom_tool_use"),
        (confirm(asking, "allow", deny_message="no"), "only goes with result deny"),
        ({"type": "user.message", "content": []}, "at least one block"),
        (message("  "), "white space"),
        ({"type": "user.message", "content": [{"type": "redacted"}]}, "must be one of text"),
        ({"type": "user.define_outcome", "description": "x"}, "not built"),
        ({"type": "user.interrupt", "session_thread_id": "sthr_other"}, "one thread"),
    ):
        with pytest.raises(InvalidRequest, match=complaint):
            await house.send(session, event)
    with pytest.raises(InvalidRequest, match="confirmed already"):
        await house.send(session, confirm(asking), confirm(asking))
    with pytest.raises(InvalidRequest, match="answered already"):
        await house.send(session, answer(custom, "1"), answer(custom, "2"))
    with pytest.raises(NotFound):
        await house.inbox.send("wrkspc_other", session, [message("hello")])


async def test_an_archived_session_takes_nothing(make_house: MakesHouse) -> None:
    house = await make_house(Script([text("hi")]))
    session = await house.session()
    await house.sessions.archive("wrkspc_test", session)
    with pytest.raises(InvalidRequest, match="has ended"):
        await house.say(session)
    assert types(await house.log(session)) == ["session.thread_status_terminated", "session.status_terminated"]
