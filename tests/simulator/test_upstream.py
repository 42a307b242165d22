"""The simulator as an upstream: whole and streamed, the same bytes for the same seed, errors as replies."""

from __future__ import annotations

import json

import pytest

from freehold.clock import HandClock
from freehold.simulator.model.catalog import MODELS
from freehold.simulator.upstream import Simulator
from freehold.upstreams.base import CountsTokens, ListsModels
from tests.simulator.kit import HAIKU, ask, body, call_of, events_of, message, refusal, simulator, text_of, tool


def test_it_says_what_it_can_do() -> None:
    assert isinstance(simulator(), CountsTokens)
    assert isinstance(simulator(), ListsModels)


async def test_a_message_has_text_usage_and_a_stop_reason() -> None:
    answer = await message(simulator(), body("Hello!", model=HAIKU))
    assert answer["type"] == "message" and answer["role"] == "assistant"
    assert text_of(answer)
    assert answer["stop_reason"] == "end_turn"
    assert answer["usage"]["input_tokens"] > 0 and answer["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("model", [name for model in MODELS for name in (model.id, *model.aliases)])
async def test_every_model_and_alias_answers_whole_and_streamed(model: str) -> None:
    whole = await message(simulator(), body("What is 6 * 7?", model=model))
    streamed = await message(simulator(), body("What is 6 * 7?", model=model, stream=True))
    assert "42" in text_of(whole) and "42" in text_of(streamed)
    assert whole["model"] in {entry.id for entry in MODELS}


@pytest.mark.parametrize(
    "request_body",
    [
        body("Hello there"),
        body("What's the weather in Paris?", tools=[tool("get_weather", city="string")]),
        body("Run `ls`, please", tools=[tool("bash", command="string"), tool("noop")], model=HAIKU),
        body("Count to ten, slowly.", max_tokens=3),
        body(
            "Think first", model="claude-opus-4-6", thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2048
        ),
        body("say apple, then pear", stop_sequences=["pear"]),
        body("北京的天气怎么样？", tools=[tool("get_weather", city="string")]),
    ],
)
async def test_a_stream_folds_to_the_same_message_as_the_whole_answer(request_body: dict[str, object]) -> None:
    brain = "echo" if "stop_sequences" in request_body else "planner"
    whole = await message(simulator(brain=brain), request_body)
    streamed = await message(simulator(brain=brain), {**request_body, "stream": True})
    ids = {whole["id"], streamed["id"]}
    for answer in (whole, streamed):
        answer.pop("id")
        for block in answer["content"]:
            block.pop("id", None)
    assert whole == streamed
    assert len(ids) == 2


async def test_the_same_seed_and_requests_give_the_same_bytes_in_any_order_of_arrival() -> None:
    requests = [body(f"Hello number {n % 3}", stream=n % 2 == 0) for n in range(6)]

    async def run(order: list[int]) -> dict[int, bytes]:
        one = Simulator(HandClock(), seed=7)
        found = {}
        for n in order:
            async with one(call_of(requests[n])) as reply:
                assert reply.whole is not None or reply.reads is not None
                parts = [reply.whole or b""] + ([read.data async for read in reply.reads] if reply.reads else [])
                found[n] = b"".join(parts)
        return found

    assert await run([0, 1, 2, 3, 4, 5]) == await run([2, 1, 0, 5, 4, 3])


async def test_another_seed_gives_other_ids() -> None:
    answers = [await message(simulator(seed=seed), body("Hello")) for seed in (1, 2)]
    assert answers[0]["id"] != answers[1]["id"]


async def test_the_same_request_twice_gets_two_ids() -> None:
    one = simulator()
    assert (await message(one, body("Hello")))["id"] != (await message(one, body("Hello")))["id"]


async def test_an_error_is_a_reply_with_the_envelope() -> None:
    async with simulator()(call_of(body("Hello", max_tokens=10**9))) as reply:
        assert reply.status == 400 and reply.whole is not None
        assert dict(reply.headers)[b"request-id"] == b"req_test"
        error = json.loads(reply.whole)
    assert error["request_id"] == "req_test"
    assert error["error"] == {
        "type": "invalid_request_error",
        "message": "max_tokens: 1000000000 > 64000, which is the maximum allowed number of output tokens for "
        "claude-haiku-4-5",
    }


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"model": 1}'])
async def test_a_body_that_is_no_request_is_refused(raw: bytes) -> None:
    call = call_of(body("x"))
    call.body = raw
    async with simulator()(call) as reply:
        assert reply.status == 400


async def test_an_unknown_model_is_not_found_and_the_nearest_is_named() -> None:
    status, answer = await ask(simulator(), body("Hello", model="claude-haiku-5.5"))
    assert status == 404
    assert answer["error"]["type"] == "not_found_error"
    assert "claude-haiku-5-5" in answer["error"]["message"]


async def test_count_tokens_is_within_three_percent_and_free() -> None:
    one = simulator()
    text = "The quick brown fox jumps over the lazy dog. " * 50
    used = (await message(one, body(text)))["usage"]["input_tokens"]
    counted = {key: value for key, value in body(text).items() if key != "max_tokens"}
    status, answer = await ask(one, counted, route="count_tokens")
    assert status == 200
    assert abs(answer["input_tokens"] - used) <= used * 0.03 + 1
    assert one.claude.account.total.requests == 1


async def test_exact_counts_are_those_of_usage() -> None:
    one = simulator(exact_counts=True)
    used = (await message(one, body("How many is this?")))["usage"]["input_tokens"]
    counted = {key: value for key, value in body("How many is this?").items() if key != "max_tokens"}
    assert (await ask(one, counted, route="count_tokens"))[1] == {"input_tokens": used}


async def test_count_tokens_refuses_what_create_would() -> None:
    request = body("x", model="claude-opus-5-5", tools=[tool("a")], tool_choice={"type": "any"})
    del request["max_tokens"]
    error = await refusal(simulator(), request, route="count_tokens")
    assert error["message"] == 'tool_choice: type "tool" and "any" are not supported for this model.'


async def test_some_models_have_another_brain() -> None:
    one = simulator(brains={"claude-haiku-4-5": "echo"})
    assert text_of(await message(one, body("abc def"))) == "abc def"
    assert text_of(await message(one, body("abc def", model=HAIKU))) != "abc def"


def test_an_unknown_brain_is_named() -> None:
    with pytest.raises(ValueError, match="no brain 'clever'; known are echo, planner"):
        simulator(brain="clever")


async def test_the_models_are_listed_newest_first_with_their_limits() -> None:
    models = await simulator().models()
    created = [model["created_at"] for model in models]
    assert created == sorted(created, reverse=True)
    opus = next(model for model in models if model["id"] == "claude-opus-4-5-20251101")
    assert opus["max_input_tokens"] == 200_000 and opus["max_tokens"] == 64_000


async def test_a_consumer_that_leaves_early_pays_for_what_was_sent() -> None:
    one = simulator(brain="echo")
    request = body("word " * 500, stream=True)
    async with one(call_of(request)) as reply:
        assert reply.reads is not None
        await anext(reply.reads)
    line = one.claude.account.lines()[-1]
    assert 0 < line.output_tokens < 100


async def test_an_error_raised_by_the_consumer_goes_through() -> None:
    from freehold.errors import InvalidRequest

    with pytest.raises(InvalidRequest, match="mine"):
        async with simulator()(call_of(body("Hello"))):
            raise InvalidRequest("mine")


async def test_every_event_of_a_stream_is_in_the_grammar_and_pings_are_among_them() -> None:
    async with simulator()(call_of(body("Hello", stream=True))) as reply:
        kinds = [event["type"] for event in await events_of(reply)]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert "ping" in kinds


@pytest.mark.parametrize("stream", [False, True])
async def test_the_bill_is_what_usage_says_at_the_model_s_prices(stream: bool) -> None:
    one = simulator()
    tools = [tool("get_weather", city="string")]
    used = (await message(one, body("The weather in Oslo?", model=HAIKU, tools=tools, stream=stream)))["usage"]
    line = one.claude.account.lines()[-1]
    assert (line.input_tokens, line.output_tokens) == (used["input_tokens"], used["output_tokens"])
    assert line.nanodollars == 100 * used["input_tokens"] + 500 * used["output_tokens"]
