"""Shadow evaluation, the gate that it opens, agreement, and what of it outlives a restart, through a whole server."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from freehold.calls import Call, Reply
from freehold.testing import Running, server

HAIKU, SONNET = "claude-haiku-5-5", "claude-sonnet-5-5"


class Models:
    """Answers by model and question, and counts who was asked."""

    def __init__(self, answer: Callable[[str, str], str]) -> None:
        self.asked: Counter[str] = Counter()
        self._answer = answer

    @asynccontextmanager
    async def __call__(self, call: Call) -> AsyncIterator[Reply]:
        self.asked[call.model] += 1
        question = json.loads(call.body)["messages"][-1]["content"]
        message = {
            "id": f"msg_{self.asked.total()}",
            "type": "message",
            "role": "assistant",
            "model": call.model,
            "content": [{"type": "text", "text": self._answer(call.model, question)}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 100, "output_tokens": 10},
        }
        yield Reply(200, [(b"content-type", b"application/json")], whole=json.dumps(message).encode())


async def ask(running: Running, question: str, *, key: str | None = None, most: int = 500) -> tuple[str, str]:
    client = running.new_client(key) if key else running.client
    messages: Any = [{"role": "user", "content": question}]
    reply = await client.messages.with_raw_response.create(model="auto", max_tokens=most, messages=messages)
    await running.application.choosing.judging.shadows.settle()
    return (await reply.parse()).model, reply.headers["x-freehold-route"]


def capital(model: str, question: str) -> str:
    return "Lima" if "peru" in question else f"{model} is not sure"


SETTINGS = {"routing_shadow_share": 1.0, "routing_most_loss": 0.05}


async def test_a_route_moves_to_the_cheap_model_once_it_has_shown_to_be_as_good(tmp_path: Path) -> None:
    models = Models(capital)
    async with server(upstream=models, settings=SETTINGS, data=tmp_path) as running:
        key = await running.new_key()
        answered = [(await ask(running, "capital of peru", key=key))[0] for _ in range(230)]
        assert answered[0] == SONNET
        assert set(answered[:199]) == {SONNET}, "not before two hundred were judged"
        assert answered[-1] == HAIKU
        model, why = await ask(running, "capital of peru", key=key)
        assert (model, "because=learned" in why) == (HAIKU, True)
        usage = await running.client.get("/freehold/v1/usage?by[]=source&by[]=model", cast_to=dict[str, Any])
        shadows = sum(row["calls"] for row in usage["data"] if row["source"] == "freehold.shadow")
        assert shadows == 231, "what judging costs stands in the record"
        strange, _ = await ask(running, "What is to be done?", key=key)
        assert strange in (SONNET, HAIKU)
    async with server(upstream=Models(capital), settings=SETTINGS, data=tmp_path) as running:
        assert (await ask(running, "capital of peru", key=key))[0] == HAIKU, "it is learned again from what was kept"


async def test_a_route_whose_cheap_answers_are_worse_stays_where_it_is() -> None:
    models = Models(lambda model, _: "Lima" if model == SONNET else "Cusco")
    async with server(upstream=models, settings=SETTINGS) as running:
        answered = {(await ask(running, "capital of peru"))[0] for _ in range(220)}
    assert answered == {SONNET}


async def test_without_a_sample_nothing_else_is_asked() -> None:
    models = Models(capital)
    async with server(upstream=models) as running:
        await ask(running, "capital of peru")
    assert models.asked == {SONNET: 1}


async def test_two_cheap_answers_that_agree_spare_the_dear_one_and_all_is_on_the_record() -> None:
    models = Models(capital)
    async with server(upstream=models, settings={"routing_agreement": True}, strict=True) as running:
        model, why = await ask(running, "capital of peru", most=16)
        assert (model, "because=agreement" in why) == (HAIKU, True)
        assert models.asked == {HAIKU: 2}
        call_id = why.rsplit("call=", 1)[1]
        found = await running.client.get(f"/freehold/v1/routing/decisions/{call_id}", cast_to=dict[str, Any])
        assert "were the same" in " ".join(found["explanation"])
        bill = await running.client.get("/freehold/v1/bill", cast_to=dict[str, Any])
        # Two calls of 100 and 10 tokens at 100 and 500 nanodollars; the call itself has cost nothing.
        assert bill["total"]["cost_nanodollars"] == 2 * (100 * 100 + 10 * 500)
        assert bill["total"]["failed_calls"] == 0


async def test_two_cheap_answers_that_differ_call_for_the_dear_one() -> None:
    seen: list[str] = []

    def answer(model: str, _: str) -> str:
        seen.append(model)
        return f"answer {len(seen)}"

    models = Models(answer)
    async with server(upstream=models, settings={"routing_agreement": True}) as running:
        model, why = await ask(running, "capital of peru", most=16)
    assert (model, "because=disagreement" in why) == (SONNET, True)
    assert models.asked == {HAIKU: 2, SONNET: 1}


async def test_an_open_question_is_asked_once() -> None:
    models = Models(capital)
    async with server(upstream=models, settings={"routing_agreement": True}) as running:
        await ask(running, "capital of peru")
    assert models.asked == {SONNET: 1}
