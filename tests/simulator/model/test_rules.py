"""The rules of the Messages API: each with a request that breaks it and says so, and one that just keeps it."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from freehold.simulator.model.catalog import MODELS
from tests.simulator.kit import HAIKU, OLD_HAIKU, ask, assistant, body, message, refusal, simulator, tool, user

_PING = tool("ping", "Ping the server")
_USE = {"type": "tool_use", "id": "toolu_1", "name": "ping", "input": {}}
_USE_2 = {**_USE, "id": "toolu_2"}
_RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "pong"}
_RESULT_2 = {**_RESULT, "tool_use_id": "toolu_2"}
_TEXT = {"type": "text", "text": "and then?"}
_FORMAT = {"type": "json_schema", "schema": {"type": "object", "properties": {}, "additionalProperties": False}}
_RECURSIVE = {
    "type": "object",
    "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["children"],
    "additionalProperties": False,
}
_SYSTEM = {"role": "system", "content": "Be brief."}


def png(width: int, height: int) -> dict[str, Any]:
    raw = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02\0\0\0"
    return {"type": "base64", "media_type": "image/png", "data": base64.b64encode(raw).decode()}


def image(source: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "image", "source": source, **more}


def pdf(raw: bytes) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(raw).decode()}
    return {"type": "document", "source": source}


_BROKEN: list[tuple[dict[str, Any], str]] = [
    # what is asked, and part of what is told
    (body(), "messages: at least one message is required"),
    (body(assistant("a"), "b"), 'messages: first message must use the "user" role'),
    (body(user()), "messages.0: all messages must have non-empty content"),
    (body(user("")), "messages.0: all messages must have non-empty content"),
    (body(user({"type": "text", "text": ""})), "messages: text content blocks must be non-empty"),
    (body(user("  ")), "messages: text content blocks must contain non-whitespace text"),
    (body("a", max_tokens=-1), "max_tokens: Input should be greater than or equal to 0"),
    (body("a", max_tokens=64_001), "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens"),
    (body("a", max_tokens=128_001, model=HAIKU), "128001 > 128000"),
    (body("a", max_tokens=0, stream=True), "cannot be streamed"),
    ({"model": HAIKU, "messages": [user("a")]}, "max_tokens: Field required"),
    ({"model": HAIKU, "max_tokens": 5}, "messages: Field required"),
    ({"max_tokens": 5, "messages": [user("a")]}, "model: Field required"),
    (body("a", colour="red"), "colour"),
    (body(user({"type": "texts", "text": "a"})), "messages.0.content.0.type"),
    (body(user({"type": "text"})), "messages.0.content.0.text: Field required"),
    (body({"role": "robot", "content": "a"}), "messages.0.role"),
    (body("a", stop_sequences=[" "]), "stop_sequences.0: each stop sequence must contain non-whitespace"),
    (body("a", temperature=1.5), "temperature: Input should be a number from 0 to 1"),
    (body("a", temperature=0.5, model=HAIKU), "`temperature` is not supported by claude-haiku-5-5"),
    (body("a", top_k=5, model=HAIKU), "`top_k` is not supported"),
    # Tools
    (body("a", tools=[tool("a b")]), "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"),
    (body("a", tools=[tool("a" * 65)]), "tools.0.custom.name: String should match pattern"),
    (body("a", tools=[_PING, _PING]), "tools: Tool names must be unique."),
    (body("a", tools=[{"name": "x", "input_schema": {"type": "array"}}]), "tools.0"),
    (body("a", tools=[{**_PING, "input_schema": {"type": "object", "anyOf": []}}]), "oneOf, allOf, or anyOf"),
    (body("a", tools=[{**tool("x", n="integer"), "input_examples": [{"n": "no"}]}]), "tools.0.custom.input_examples.0"),
    (body("a", tools=[{**_PING, "defer_loading": True}]), "At least one tool must not have defer_loading"),
    (body("a", tools=[{"type": "web_search_20260318", "name": "web_search"}]), "does not play 'web_search_20260318'"),
    (body("a", tool_choice={"type": "auto"}), "tool_choice may only be specified while providing tools."),
    (body("a", tools=[_PING], tool_choice={"type": "tool", "name": "x"}), "Tool 'x' not found in provided tools"),
    # Tool results
    (
        body("a", assistant(_USE), "b", tools=[_PING]),
        "ids were found without `tool_result` blocks immediately after: toolu_1",
    ),
    (body("a", assistant(_USE), tools=[_PING]), "ids were found without `tool_result` blocks"),
    (body("a", assistant(_USE, _USE_2), user(_RESULT), tools=[_PING]), "immediately after: toolu_2"),
    (body("a", user(_RESULT)), "messages.1.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1"),
    (body("a", assistant(_USE), user(_RESULT, _RESULT)), "must have a single result"),
    (body("a", assistant(_USE), user(_TEXT, _RESULT)), "`tool_result` blocks must come first in the message"),
    (body("a", assistant(_USE, _USE), user(_RESULT)), "`tool_use` ids must be unique"),
    (body("a", assistant(_USE), user(_RESULT), assistant("b"), user(_RESULT_2)), "unexpected `tool_use_id`"),
    (body(user(_USE)), "`tool_use` blocks can only be in `assistant` messages"),
    (body("a", assistant(_RESULT), "b"), "`tool_result` blocks can only be in `user` messages"),
    (body("a", assistant(image(png(5, 5))), "b"), "can only be in `user` messages"),
    # System messages
    (body(_SYSTEM, "a"), "first message must use"),
    (body("a", assistant("b"), _SYSTEM, "c"), "must follow a `user` message"),
    (body("a", _SYSTEM, "b"), "must be the last message or be followed by an `assistant` message"),
    # Prefill
    (body("a", assistant("The answer is"), model=HAIKU), "does not support assistant message prefill"),
    (body("a", assistant("The answer is ")), "final assistant content cannot end with trailing whitespace"),
    # Thinking
    (body("a", model=HAIKU, thinking={"type": "enabled", "budget_tokens": 2000}), '"enabled" is not supported'),
    (body("a", model="claude-opus-5-5", thinking={"type": "disabled"}), '"disabled" is not supported'),
    (body("a", model="claude-opus-4-5", thinking={"type": "adaptive"}), '"adaptive" is not supported'),
    (
        body("a", max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1000}),
        "budget_tokens: Input should be greater than or equal to 1024",
    ),
    (
        body("a", max_tokens=1024, thinking={"type": "enabled", "budget_tokens": 1024}),
        "`max_tokens` must be greater than `thinking.budget_tokens`.",
    ),
    (
        body("a", model="claude-opus-5", thinking={"type": "disabled"}, output_config={"effort": "max"}),
        'not supported by claude-opus-5 at effort "max"',
    ),
    (
        body("a", model="claude-sonnet-5-5", thinking={"type": "between_tools"}, output_config={"effort": "xhigh"}),
        '"between_tools" is not supported at effort "xhigh"',
    ),
    (
        body(
            "a",
            max_tokens=3000,
            tools=[_PING],
            tool_choice={"type": "any"},
            thinking={"type": "enabled", "budget_tokens": 1024},
        ),
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    (
        body("a", assistant(_USE), user(_RESULT), max_tokens=3000, thinking={"type": "enabled", "budget_tokens": 1024}),
        "Expected `thinking` or `redacted_thinking`, but found `tool_use`",
    ),
    (
        body(
            "a",
            assistant({"type": "thinking", "thinking": "hm", "signature": "forged"}, _USE),
            user(_RESULT),
            max_tokens=3000,
            thinking={"type": "enabled", "budget_tokens": 1024},
        ),
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    ),
    # Effort, speed, region
    (body("a", output_config={"effort": "low"}), "does not support the effort parameter"),
    (body("a", model="claude-opus-4-6", output_config={"effort": "xhigh"}), "it takes low, medium, high, max"),
    (body("a", speed="fast"), "fast mode is not supported by claude-haiku-4-5"),
    (body("a", inference_geo="us"), "inference_geo: not supported by claude-haiku-4-5"),
    (body("a", model=HAIKU, inference_geo="mars"), "'mars' is not a known region"),
    # Media
    (body(user(image(png(8001, 10)))), "exceed max allowed size: 8000 pixels"),
    (body(user(*[image(png(2001, 10))] * 21)), "exceed max allowed size: 2000 pixels"),
    (body(user(*[image(png(9, 9))] * 101)), "too many images: 101 > 100"),
    (body(user(image({**png(9, 9), "media_type": "image/jpeg"}))), "but the image appears to be a image/png image"),
    (body(user(image({**png(9, 9), "data": "AAAA"}))), "Could not process image"),
    (body(user(image({**png(9, 9), "data": "!!"}))), "invalid base64 data"),
    (body(user(image({**png(9, 9), "data": "A" * (7 << 20)}))), "image exceeds 5 MB maximum"),
    (body(user(image({"type": "url", "url": "http://x/y.png"}))), "Only HTTPS URLs are supported."),
    (body(user(image(png(3000, 3000), transformations={"oversized_image": "error"}))), "is 3000x3000 pixels"),
    (body(user(pdf(b"hello"))), "The PDF specified was not valid."),
    (body(user(pdf(b"%PDF-1.7 /Encrypt"))), "password protected"),
    (body(user(pdf(b"%PDF-1.7 /Type /Pages /Count 101"))), "A maximum of 100 PDF pages"),
    # Formats
    (
        body("a", output_config={"format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}}),
        "additionalProperties: must be false",
    ),
    (
        body("a", output_config={"format": {"type": "json_schema", "schema": {"type": "integer", "minimum": 1}}}),
        "minimum: is not supported in structured outputs",
    ),
    (
        body("a", output_config={"format": {"type": "json_schema", "schema": {"$ref": "#/$defs/x"}}}),
        "leads nowhere",
    ),
    (
        body("a", output_config={"format": {"type": "json_schema", "schema": _RECURSIVE}}),
        "recursive schemas are not supported",
    ),
    (body("a", output_config={"format": {"type": "json_schema", "schema": {"type": 5}}}), "JSON schema is invalid"),
    (body("a", assistant("{"), output_config={"format": _FORMAT}), "cannot be combined with assistant message prefill"),
    # What is not played
    (
        body("a", mcp_servers=[{"type": "url", "name": "a", "url": "https://a"}]),
        "mcp_servers: the simulator does not play",
    ),
    (body("a", compaction={"type": "summarize"}), "compaction: the simulator does not play"),
    (body("a", container="c"), "container: the simulator does not play"),
]


@pytest.mark.parametrize(("request_body", "told"), _BROKEN, ids=[told[:60] for _, told in _BROKEN])
async def test_a_request_that_breaks_a_rule_is_told_which(request_body: dict[str, Any], told: str) -> None:
    error = await refusal(simulator(), request_body)
    assert error["type"] == "invalid_request_error"
    assert told in error["message"]


@pytest.mark.parametrize("model", [model for model in MODELS if not model.forced_choice], ids=lambda model: model.id)
@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "ping"}])
async def test_some_models_take_no_forced_choice(model: Any, choice: dict[str, Any]) -> None:
    error = await refusal(simulator(), body("a", model=model.id, tools=[_PING], tool_choice=choice))
    assert error["message"] == 'tool_choice: type "tool" and "any" are not supported for this model.'


@pytest.mark.parametrize(
    "request_body",
    [
        body("a", assistant(_USE), user(_RESULT, _TEXT), tools=[_PING]),
        body("a", assistant(_USE, _USE_2), user(_RESULT), user(_RESULT_2), tools=[_PING]),
        body("a", assistant(_USE), user(_RESULT)),
        body("a", assistant("The answer is")),
        body("a", "b", assistant("c"), assistant("d"), "e"),
        body("a", _SYSTEM),
        body("a", _SYSTEM, _SYSTEM, assistant("b"), "c"),
        body("a", assistant(_USE), user(_RESULT), _SYSTEM, tools=[_PING]),
        body("a", temperature=0.3, top_p=0.9, top_k=4),
        body("a", temperature=1, model=HAIKU),
        body("a", max_tokens=0),
        body("a", system=[{"type": "text", "text": "a"}], metadata={"user_id": "u"}, service_tier="standard_only"),
        body("a", model="claude-opus-5-5", speed="fast", inference_geo="us", output_config={"effort": "max"}),
        body(user(image(png(8000, 8000)), {"type": "text", "text": "Look"})),
        body(user(pdf(b"%PDF-1.7 /Type /Pages /Count 50"), {"type": "text", "text": "Read"})),
        body(user(image({"type": "url", "url": "https://x/y.png"}), {"type": "text", "text": "Look"})),
        body(user(image({"type": "file", "file_id": "file_1"}), {"type": "text", "text": "Look"})),
        body("a", assistant({"type": "thinking", "thinking": "x", "signature": "of another"}), "b", model=HAIKU),
        body(
            "a",
            tools=[{"type": "computer_20251124", "name": "computer", "display_width_px": 9, "display_height_px": 9}],
        ),
    ],
)
async def test_a_request_that_keeps_the_rules_is_answered(request_body: dict[str, Any]) -> None:
    assert (await ask(simulator(), request_body))[0] == 200


async def test_message_threads_are_refused_with_the_code_that_the_sdk_knows() -> None:
    error = await refusal(simulator(), body("a", thread={"type": "create"}))
    assert error["details"] == {"error_code": "thread_unsupported_request"}


async def test_an_image_that_is_too_large_names_its_path_and_the_limit() -> None:
    error = await refusal(simulator(), body(user(image(png(9000, 10)))))
    assert error["details"] == {
        "error_code": "image_dimensions_too_large",
        "paths": ["messages.0.content.0"],
        "max_side_length_pixels": 8000,
    }


async def test_a_prompt_longer_than_the_window_is_refused() -> None:
    error = await refusal(simulator(), body("。" * 200_100, model=OLD_HAIKU))
    assert error["message"].startswith("prompt is too long: 200") and error["message"].endswith("> 200000 maximum")
    assert (await ask(simulator(), body("。" * 150_000, model=HAIKU)))[0] == 200


async def test_a_reply_that_reaches_the_end_of_the_window_says_so() -> None:
    one = simulator(brain="echo")
    answer = await message(one, body("。" * 190_000, model=OLD_HAIKU, max_tokens=64_000))
    assert answer["stop_reason"] == "model_context_window_exceeded"
    assert answer["usage"]["input_tokens"] + answer["usage"]["output_tokens"] == 200_000


async def test_a_reply_stops_at_max_tokens_and_never_passes_it() -> None:
    for most in (1, 2, 7, 50):
        answer = await message(simulator(brain="echo"), body("word " * 300, max_tokens=most))
        assert answer["stop_reason"] == "max_tokens" and answer["usage"]["output_tokens"] == most


async def test_a_stop_sequence_ends_the_reply_and_is_named() -> None:
    answer = await message(simulator(brain="echo"), body("one two three", stop_sequences=["three", "two"]))
    assert answer["content"][0]["text"] == "one "
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "two")


async def test_a_tool_choice_of_none_forbids_calls() -> None:
    request = body("Please ping the server", tools=[_PING])
    assert (await message(simulator(), request))["stop_reason"] == "tool_use"
    assert (await message(simulator(), {**request, "tool_choice": {"type": "none"}}))["stop_reason"] == "end_turn"
