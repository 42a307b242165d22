"""What is read off an answer on its way through."""

from __future__ import annotations

import json
from typing import Any

from freehold.wire.facts import Facts, Iteration, Usage
from freehold.wire.frames import frame
from freehold.wire.tap import Tap, of_whole

START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "model": "claude-sonnet-4-5",
        "content": [],
        "usage": {
            "input_tokens": 10,
            "output_tokens": 1,
            "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            "cache_read_input_tokens": 5,
            "service_tier": "standard",
            "inference_geo": "us",
        },
    },
}
STOP = {"type": "message_stop"}


def tap(*stream: dict[str, Any]) -> Facts:
    """All in one read."""
    reader = Tap()
    reader.read(b"".join(frame(event["type"], json.dumps(event).encode()) for event in stream))
    return reader.facts


def delta(**usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage}


def usage_of(*stream: dict[str, Any]) -> Usage:
    usage = tap(*stream).usage
    assert usage is not None
    return usage


def test_the_last_event_with_usage_wins_and_what_it_leaves_out_stays() -> None:
    facts = tap(START, delta(output_tokens=7), delta(output_tokens=9, input_tokens=11), STOP)
    assert facts == Facts(
        message_id="msg_1",
        model="claude-sonnet-4-5",
        stop_reason="end_turn",
        usage=Usage(11, 9, 10, 20, 5, service_tier="standard", inference_geo="us"),
        complete=True,
        begun=True,
    )


def test_the_split_of_cache_writes_survives_a_delta_that_gives_only_their_sum() -> None:
    usage = usage_of(START, delta(output_tokens=2, cache_creation_input_tokens=30))
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (10, 20)


def test_what_server_tools_wrote_to_the_cache_meanwhile_counts_as_five_minutes() -> None:
    usage = usage_of(START, delta(output_tokens=2, cache_creation_input_tokens=37))
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (17, 20)


def test_a_sum_without_a_split_counts_as_five_minutes() -> None:
    usage = of_whole(200, b'{"usage":{"input_tokens":1,"output_tokens":1,"cache_creation_input_tokens":8}}').usage
    assert usage is not None
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (8, 0)


def test_server_tools_and_passes_of_the_model_are_counted() -> None:
    passes = [
        {
            "type": "compaction",
            "input_tokens": 100,
            "output_tokens": 20,
            "cache_creation_input_tokens": 4,
            "cache_read_input_tokens": 3,
            "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 3},
        },
        {"type": "fallback_message", "model": "claude-haiku-4-5", "input_tokens": 1, "output_tokens": 2},
    ]
    tools = {"web_search_requests": 2, "web_fetch_requests": 1}
    usage = usage_of(START, delta(output_tokens=3, iterations=passes, server_tool_use=tools))
    assert (usage.web_searches, usage.web_fetches) == (2, 1)
    assert usage.iterations == (
        Iteration("compaction", None, 100, 20, 1, 3, 3),
        Iteration("fallback_message", "claude-haiku-4-5", 1, 2, 0, 0, 0),
    )


def test_a_stream_that_broke_off_still_tells_what_it_used() -> None:
    facts = tap(START)
    assert facts.begun and not facts.complete
    assert facts.usage is not None and facts.usage.input_tokens == 10


def test_an_error_inside_a_stream_is_a_fact_and_the_answer_is_not_complete() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    facts = tap(START, error)
    assert (facts.error_type, facts.error_message, facts.complete) == ("overloaded_error", "Overloaded", False)
    assert not tap(START, error, STOP).complete


def test_an_early_error_has_begun_nothing() -> None:
    facts = tap({"type": "ping"}, {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}})
    assert (facts.begun, facts.error_type, facts.usage) == (False, "rate_limit_error", None)


def test_the_model_is_the_one_that_a_fallback_names() -> None:
    block = {"type": "fallback", "from": {"model": "claude-opus-4-5"}, "to": {"model": "claude-haiku-4-5"}}
    assert tap(START, {"type": "content_block_start", "index": 0, "content_block": block}).model == "claude-haiku-4-5"


def test_text_of_the_model_cannot_pass_for_a_fact() -> None:
    lie = json.dumps({"type": "message_delta", "delta": {"stop_reason": "refusal"}, "usage": {"output_tokens": 10**6}})
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f"\n\n{lie}\n\n"}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "x", "usage": {"output_tokens": 9}}}
    assert tap(START, block, text) == tap(START)


def test_facts_in_several_events_of_one_read_are_taken_in_order() -> None:
    facts = tap(START, delta(output_tokens=1), STOP)
    assert (facts.stop_reason, facts.complete) == ("end_turn", True)


def test_an_error_answer_tells_its_type_and_message() -> None:
    body = b'{"type":"error","error":{"type":"not_found_error","message":"model: x"},"request_id":"req_1"}'
    assert of_whole(404, body) == Facts(error_type="not_found_error", error_message="model: x")
    assert of_whole(500, b"{}") == Facts(error_type="api_error", error_message="")


def test_a_body_that_is_no_json_tells_nothing() -> None:
    for body in (b"", b"<html>", b"[1]", b'{"usage":', b"[" * 10**5):
        assert of_whole(200, body) == Facts()


def test_odd_values_cost_their_fact_and_not_the_answer() -> None:
    body = json.dumps(
        {"id": 7, "model": None, "usage": {"input_tokens": "many", "output_tokens": -1, "cache_read_input_tokens": 3}}
    )
    facts = of_whole(200, body.encode())
    assert facts == Facts(usage=Usage(cache_read_tokens=3), complete=True, begun=True)


def test_a_token_count_has_no_usage() -> None:
    assert of_whole(200, b'{"input_tokens":14}') == Facts(complete=True, begun=True)
