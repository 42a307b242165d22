"""The loop on a scripted model: the order of a turn, tools side by side, permissions, failures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from freehold.agents.tools.execution import Place
from freehold.errors import InvalidRequest, Overloaded, RateLimited
from tests.agents.conftest import MakesHouse
from tests.agents.house import (
    CALLER,
    BoxFunctions,
    Json,
    Script,
    calls,
    last_stop,
    of_type,
    said,
    text,
    types,
)
from tests.contract.manifest import shows_difference

TURN_END = ["session.thread_status_idle", "session.usage", "session.status_idle"]


@shows_difference("primary-threads-always-speak")
async def test_a_plain_turn_has_the_order_of_the_api(make_house: MakesHouse) -> None:
    house = await make_house(Script([text("hi there")]))
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    assert types(log) == [
        "user.message",
        "session.status_running",
        "session.thread_status_running",
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
        *TURN_END,
    ]
    assert last_stop(log) == {"type": "end_turn"}
    assert said(log[4]) == "hi there"
    assert log[5]["model_request_start_id"] == log[3]["id"]
    assert log[5]["model_usage"]["input_tokens"] == 10
    assert log[7]["usage"]["list_cost"] == {"amount": "0", "currency": "USD"}
    assert await house.status(session) == "idle"


async def test_a_turn_with_a_tool_posts_its_result_and_asks_again(make_house: MakesHouse) -> None:
    script = Script([calls(("bash", {"command": "ls"}), say="looking"), text("done")])
    house = await make_house(script)
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    assert types(log)[3:] == [
        "span.model_request_start",
        "agent.message",
        "agent.tool_use",
        "span.model_request_end",
        "agent.tool_result",
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
        *TURN_END,
    ]
    use, result = of_type(log, "agent.tool_use")[0], of_type(log, "agent.tool_result")[0]
    assert use["evaluated_permission"] == "allow" and use["evaluation"] == {"type": "always_allow"}
    assert result["tool_use_id"] == use["id"] and result["is_error"] is False
    assert script.asked[1]["messages"][2]["content"][0]["content"] == [{"type": "text", "text": "bash done"}]
    assert house.boxes.ran == [("bash", use["id"])]
    assert await house.journal(session) == {"bash": "done"}


async def test_calls_run_side_by_side_and_results_keep_the_order_of_the_calls(make_house: MakesHouse) -> None:
    both, ended, go_on = asyncio.Barrier(2), asyncio.Event(), asyncio.Event()

    async def slow(_: Mapping[str, Any]) -> str:
        await both.wait()
        await go_on.wait()
        return "slow"

    async def quick(_: Mapping[str, Any]) -> str:
        await both.wait()
        ended.set()
        return "quick"

    house = await make_house(
        Script([calls(("bash", {}), ("read", {})), text("done")]), boxes=BoxFunctions(bash=slow, read=quick)
    )
    session = await house.session()
    await house.say(session)
    await ended.wait()
    await house.say(session, "are you there?")  # a commit later, the loop has seen that the second call has ended
    assert of_type(await house.log(session), "agent.tool_result") == []
    go_on.set()
    log = await house.idle(session)
    assert [said(result) for result in of_type(log, "agent.tool_result")] == ["slow", "quick"]


async def test_one_failing_tool_does_not_hide_the_others(make_house: MakesHouse) -> None:
    async def explode(_: Mapping[str, Any]) -> str:
        raise RuntimeError("secret detail")

    script = Script([calls(("bash", {}), ("mcp__company__lookup", {"id": "nobody"}), ("read", {})), text("done")])
    house = await make_house(script, boxes=BoxFunctions(bash=explode))
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    results = [event for event in log if event["type"] in ("agent.tool_result", "agent.mcp_tool_result")]
    assert [result["is_error"] for result in results] == [True, True, False]
    assert "secret detail" not in said(results[0])
    assert results[1]["mcp_tool_use_id"] == of_type(log, "agent.mcp_tool_use")[0]["id"]
    assert said(results[2]) == "read done"


async def test_an_unknown_tool_is_an_error_that_names_the_known_ones(make_house: MakesHouse) -> None:
    house = await make_house(Script([calls(("nonsense", {})), text("sorry")]))
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    use, result = of_type(log, "agent.tool_use")[0], of_type(log, "agent.tool_result")[0]
    assert use["evaluated_permission"] == "deny" and "evaluation" not in use
    assert result["is_error"] and "bash" in said(result) and "mcp__company__lookup" in said(result)
    assert house.boxes.ran == []


async def test_an_input_that_is_no_object_is_an_error_and_is_not_sent_back(make_house: MakesHouse) -> None:
    script = Script([calls(("bash", ["ls"])), text("sorry")])
    house = await make_house(script)
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    assert "must be a JSON object" in said(of_type(log, "agent.tool_result")[0])
    assert script.asked[1]["messages"][1]["content"][0]["input"] == {}
    assert house.boxes.ran == []


async def test_a_call_cut_off_by_max_tokens_is_not_run(make_house: MakesHouse) -> None:
    reply = calls(("read", {"file_path": "a"}), ("bash", {"command": "rm -r"}), stop="max_tokens")
    house = await make_house(Script([reply, text("done")]))
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    assert [name for name, _ in house.boxes.ran] == ["read"]
    assert [result["is_error"] for result in of_type(log, "agent.tool_result")] == [False, True]


@shows_difference("cut-off-replies-are-told")
async def test_a_text_cut_off_by_max_tokens_is_said_in_the_log(make_house: MakesHouse) -> None:
    house = await make_house(Script([text("so far") | {"stop_reason": "max_tokens"}]))
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    assert of_type(log, "session.error")[0]["error"]["type"] == "model_request_failed_error"
    assert last_stop(log) == {"type": "end_turn"}


@shows_difference("refused-words-are-not-kept")
async def test_a_refusal_ends_the_turn_and_the_refused_words_are_not_kept(make_house: MakesHouse) -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "no"}
    refused = text("half a") | {"stop_reason": "refusal", "stop_details": details}
    script = Script([refused, text("fine")])
    house = await make_house(script)
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    idle = of_type(log, "session.status_idle")[0]
    assert idle["stop_reason"] == {"type": "refusal"} and idle["stop_details"] == details
    assert of_type(log, "agent.message") == []
    await house.say(session, "something else")
    await house.idle(session, 2)
    assert [message["role"] for message in script.asked[1]["messages"]] == ["user"]


async def test_a_paused_reply_is_asked_to_go_on_as_it_is(make_house: MakesHouse) -> None:
    script = Script([text("part one") | {"stop_reason": "pause_turn"}, text("part two")])
    house = await make_house(script)
    session = await house.session()
    await house.say(session)
    await house.idle(session)
    assert [message["role"] for message in script.asked[1]["messages"]] == ["user", "assistant"]


async def test_a_full_context_window_is_said_in_the_log(make_house: MakesHouse) -> None:
    house = await make_house(Script([text("so") | {"stop_reason": "model_context_window_exceeded"}]))
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    assert "context window" in of_type(log, "session.error")[0]["error"]["message"]
    assert last_stop(log) == {"type": "retries_exhausted"}


async def test_thinking_comes_back_signed_and_is_only_a_mark_in_the_log(make_house: MakesHouse) -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    first = calls(("bash", {}))
    first["content"].insert(0, thinking)
    script = Script([first, text("done")])
    house = await make_house(script)
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    mark = of_type(log, "agent.thinking")[0]
    assert set(mark) == {"id", "type", "processed_at"}
    assert script.asked[1]["messages"][1]["content"][0] == thinking


async def test_the_call_goes_out_for_the_creator_of_the_session(make_house: MakesHouse) -> None:
    script = Script([text("hi")])
    house = await make_house(script)
    session = await house.session()
    await house.say(session)
    await house.idle(session)
    assert script.calls[0].caller == CALLER
    assert script.calls[0].session_id == session
    assert script.calls[0].stream


async def test_the_same_session_makes_the_same_request_bytes(make_house: MakesHouse) -> None:
    script = Script([text("hi")])
    house = await make_house(script)
    agents = [await house.session() for _ in range(2)]
    for session in agents:
        await house.say(session)
        await house.idle(session)
    assert script.calls[0].body == script.calls[1].body
    assert list(script.asked[0]) == ["model", "max_tokens", "stream", "tools", "system", "messages", "cache_control"]


async def test_a_transient_failure_is_tried_again_later(make_house: MakesHouse) -> None:
    script = Script([Overloaded("busy"), text("at last")])
    house = await make_house(script)
    session = await house.session()
    await house.say(session)
    await house.tries_again(session)
    log = await house.idle(session)
    error = of_type(log, "session.error")[0]["error"]
    assert error == {"type": "model_overloaded_error", "message": "busy", "retry_status": {"type": "retrying"}}
    at = types(log).index("session.error")
    assert types(log)[at - 1 : at + 5] == [
        "span.model_request_end",
        "session.error",
        "session.thread_status_rescheduled",
        "session.status_rescheduled",
        "session.status_running",
        "session.thread_status_running",
    ]
    assert log[at - 1]["is_error"] is True
    assert last_stop(log) == {"type": "end_turn"}


async def test_a_final_failure_ends_the_turn_and_a_message_tries_again(make_house: MakesHouse) -> None:
    script = Script([InvalidRequest("prompt is too long"), text("ok")])
    house = await make_house(script)
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    assert of_type(log, "session.error")[0]["error"]["retry_status"] == {"type": "exhausted"}
    assert last_stop(log) == {"type": "retries_exhausted"}
    await house.say(session, "again")
    log = await house.idle(session, 2)
    assert last_stop(log) == {"type": "end_turn"}
    assert [len(message["content"]) for message in script.asked[1]["messages"]] == [2]


async def test_an_http_error_of_the_upstream_is_a_failure_too(make_house: MakesHouse) -> None:
    limited: Json = {"status": 429, "error": RateLimited("slow down"), "headers": {"retry-after": "0"}}
    house = await make_house(Script([limited, text("ok")]))
    session = await house.session()
    await house.say(session)
    await house.tries_again(session)
    log = await house.idle(session)
    assert of_type(log, "session.error")[0]["error"]["type"] == "model_rate_limited_error"
    assert last_stop(log) == {"type": "end_turn"}


async def test_a_call_that_does_nothing_costs_two_commits(make_house: MakesHouse) -> None:
    house = await make_house(Script([text("plain"), calls(("bash", {})), text("done")]))
    session = await house.session()
    costs = []
    for turn in (1, 2):
        before = house.store.commits
        await house.say(session)
        await house.idle(session, turn)
        costs.append(house.store.commits - before)
    assert costs[1] - costs[0] <= 2


async def test_a_box_is_expected_while_the_model_thinks_and_what_goes_wrong_then_harms_nobody(
    make_house: MakesHouse,
) -> None:
    class NoBox(BoxFunctions):
        async def expect(self, place: Place) -> None:
            await super().expect(place)
            raise RuntimeError("no box today")

    boxes = NoBox()
    script = Script([text("one")], waits=True)
    house = await make_house(script, boxes=boxes)
    session = await house.session()
    await house.say(session)
    async with asyncio.timeout(120):
        await house.until(session, lambda log: "span.model_request_start" in types(log))
        while not boxes.expected:  # noqa: ASYNC110 (nothing is written then that could be waited for)
            await asyncio.sleep(0)
    script.gate.set()
    log = await house.idle(session)
    assert boxes.expected == [session]
    assert of_type(log, "session.error") == [] and said(of_type(log, "agent.message")[0]) == "one"
