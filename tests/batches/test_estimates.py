"""Estimates through the API: counted inputs, bounds where nothing is known, an interval from batches of the kind."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import AsyncAnthropic, BadRequestError

from freehold.testing import server
from tests.batches.house import MODEL, Scripted, ended, message, params, progress, until

MOST = 200


def asked(count: int, template: str = "Summarise this text: {}") -> list[Any]:
    texts = [f"the letter number {i} " + "of many words " * (1 + i % 9) for i in range(count)]
    return [
        {"custom_id": f"item-{i}", "params": params(template.format(text), max_tokens=MOST)}
        for i, text in enumerate(texts)
    ]


def varied(text: str, _: int) -> tuple[int, bytes]:
    used = 20 + len(text) // 3 + sum(map(ord, text)) % 17
    return 200, message("fine", usage={"input_tokens": len(text) // 4, "output_tokens": used})


class Counting(Scripted):
    """Answers counts, too."""

    def __init__(self) -> None:
        super().__init__(varied)
        self.counts = 0

    def __call__(self, call: Any) -> Any:
        if call.route == "count_tokens":
            self.counts += 1
            return Scripted(lambda text, _: (200, b'{"input_tokens":%d}' % (len(text) // 4)))(call)
        return super().__call__(call)


class HalfWay(Counting):
    """Answers so many calls, then holds the rest until its gate is opened."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self._left = answers

    def __call__(self, call: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            self.gate.clear()
        return super().__call__(call)


async def estimate(client: AsyncAnthropic, requests: list[Any]) -> dict[str, Any]:
    body = {"requests": requests}
    return await client.post("/freehold/v1/batches/estimate", body=body, cast_to=dict[str, Any])


async def forecast(client: AsyncAnthropic, batch_id: str) -> dict[str, Any]:
    return await client.get(f"/freehold/v1/batches/{batch_id}/forecast", cast_to=dict[str, Any])


async def test_what_nobody_knows_is_bounded_and_what_was_done_before_is_forecast_and_checked(
    database_url: str,
) -> None:
    upstream = Counting()
    async with server(upstream=upstream, settings={"database": database_url}) as running:
        client = running.client
        first = await estimate(client, asked(60))
        assert (first["basis"], first["confidence"], first["known_calls"]) == ("bounds", 1.0, 0)
        assert (first["counted"], upstream.counts) == (60, 60), "inputs are counted, every one"
        assert first["input_tokens"] == sum(len(one["params"]["messages"][0]["content"]) // 4 for one in asked(60))
        assert (first["output_tokens"]["low"], first["output_tokens"]["high"]) == (60, 60 * MOST)
        assert upstream.asked == {}, "an estimate asks no model"

        batch = await client.messages.batches.create(requests=asked(60))
        await ended(client, batch.id)
        assert (await forecast(client, batch.id))["made"] is None
        cost = (await progress(client, batch.id))["cost_nanodollars"]
        assert first["cost_nanodollars"]["low"] <= cost <= first["cost_nanodollars"]["high"]

        second = await estimate(client, asked(90))
        assert (second["basis"], second["confidence"], second["known_calls"]) == ("history", 0.9, 60)
        width = second["cost_nanodollars"]["high"] - second["cost_nanodollars"]["low"]
        assert width < 0.2 * second["cost_nanodollars"]["expected"]
        batch = await client.messages.batches.create(requests=asked(90))
        await ended(client, batch.id)
        found = await forecast(client, batch.id)
        assert found["held"] is True
        assert found["made"]["low"] <= found["cost_nanodollars"] <= found["made"]["high"]


async def test_work_of_another_kind_tells_nothing(database_url: str) -> None:
    async with server(upstream=Counting(), settings={"database": database_url}) as running:
        client = running.client
        batch = await client.messages.batches.create(requests=asked(30))
        await ended(client, batch.id)
        assert (await estimate(client, asked(40)))["basis"] == "history"
        assert (await estimate(client, asked(40, "Translate this: {}")))["basis"] == "bounds"
        other = await client.with_options(default_headers={"x-freehold-task-type": "x"}).post(
            "/freehold/v1/batches/estimate", body={"requests": asked(40)}, cast_to=dict[str, Any]
        )
        assert other["basis"] == "bounds"


async def test_a_large_batch_is_counted_by_a_hundred_of_its_inputs(database_url: str) -> None:
    upstream = Counting()
    async with server(upstream=upstream, settings={"database": database_url}) as running:
        requests = asked(950)
        requests[3] = {"custom_id": "bad", "params": {"model": MODEL, "stream": True, "messages": []}}
        found = await estimate(running.client, requests)
        assert (found["requests"], found["refused"]) == (950, 1)
        assert found["counted"] == upstream.counts <= 100
        exact = sum(len(one["params"]["messages"][0]["content"]) // 4 for one in requests if one["custom_id"] != "bad")
        assert found["input_tokens"] == pytest.approx(exact, rel=0.08)
        with pytest.raises(BadRequestError, match="custom_id"):
            await estimate(running.client, [{"custom_id": "not allowed!", "params": params("x")}])


async def test_a_batch_that_is_worked_on_tells_what_it_will_have_cost(database_url: str) -> None:
    upstream = HalfWay(40)
    settings = {"database": database_url, "batch_concurrency": 8}
    async with server(upstream=upstream, settings=settings) as running:
        client = running.client
        batch = await client.messages.batches.create(requests=asked(80))
        await until(lambda: not upstream.gate.is_set())
        now = None
        while now is None:
            found = await forecast(client, batch.id)
            now = found["now"]
        upstream.gate.set()
        await ended(client, batch.id)
        final = await forecast(client, batch.id)
    assert now["low"] <= now["expected"] <= now["high"]
    assert final["cost_nanodollars"] == pytest.approx(now["expected"], rel=0.2)
    assert final["now"] is None
