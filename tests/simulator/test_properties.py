"""For any request that the SDK's types allow: a valid answer or a proper 4xx, and a stream that folds to the same."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import jsonschema
import pytest
from anthropic.types.beta import BetaMessage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.simulator.model.request import merge
from tests.simulator.kit import ask, calls_of, message, results, simulator, text_of
from tests.simulator.sdk_requests import bodies, conversations

_RESULTS = ['{"user_id": "u_7", "city": "Rome"}', "", "plain text", "error: did you mean u_8?", "[1, 2, 3]", "x" * 3000]
_EXAMPLES = int(os.environ.get("FREEHOLD_TEST_EXAMPLES", "400"))
_SLOW = settings(
    max_examples=_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize="CI" in os.environ
)


def _without_ids(answer: dict[str, Any]) -> dict[str, Any]:
    content = [{**block, "id": "", "signature": ""} for block in answer["content"]]
    return {**answer, "id": "", "content": content}


@_SLOW
@given(bodies())
def test_any_request_of_the_types_gets_a_valid_answer_or_a_proper_4xx(request_body: dict[str, Any]) -> None:
    async def run() -> None:
        for brain in ("planner", "echo"):
            status, whole = await ask(simulator(brain=brain), {**request_body, "stream": False})
            if status != 200:
                assert 400 <= status < 500, whole
                assert whole["type"] == "error" and len(whole["error"]["message"]) > 10
                return
            BetaMessage.model_validate(whole, strict=False)
            if request_body["max_tokens"] == 0:
                continue
            _, streamed = await ask(simulator(brain=brain), {**request_body, "stream": True})
            assert _without_ids(streamed) == _without_ids(whole)

    asyncio.run(run())


@_SLOW
@given(conversations(), st.lists(st.sampled_from(_RESULTS), min_size=12, max_size=12), st.booleans())
def test_any_conversation_is_answered_to_its_end_with_inputs_that_fit_their_schemas(
    request_body: dict[str, Any], returned: list[str], fails: bool
) -> None:
    async def run() -> None:
        one = simulator(seed=3)
        body = dict(request_body)
        schemas = {tool["name"]: tool["input_schema"] for tool in body["tools"]}
        for turn in range(6):
            streamed = {**body, "stream": turn % 2 == 0}
            answer = await message(one, streamed)
            BetaMessage.model_validate(answer, strict=False)
            for name, filled in calls_of(answer):
                jsonschema.validate(filled, schemas[name])
            if answer["stop_reason"] != "tool_use":
                break
            errors = (0,) if fails else ()
            texts = returned[: len(calls_of(answer))]
            back = {"role": "assistant", "content": answer["content"]}
            body["messages"] = [*body["messages"], back, results(answer, *texts, errors=errors)]
            body.pop("tool_choice", None)
        else:
            raise AssertionError("it never came to an end")
        if "output_config" in body and answer["stop_reason"] == "end_turn":
            jsonschema.validate(json.loads(text_of(answer)), body["output_config"]["format"]["schema"])

    asyncio.run(run())


@pytest.mark.parametrize("text", ["\ud800", "x\udfff", "\u0000", "\u202e", "😀" * 50])
def test_strange_characters_are_answered_or_refused(text: str) -> None:
    request = {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": text}]}
    status, _ = asyncio.run(ask(simulator(brain="echo"), json.dumps(request).encode()))
    assert status in (200, 400)


def test_neighbours_of_one_role_are_one_turn() -> None:
    turns = merge([{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"}]}])
    assert [[block["text"] for block in turn.blocks] for turn in turns] == [["a", "b"]]
