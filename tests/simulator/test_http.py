"""The simulator as an HTTP server: the official SDK in strict mode drives every method that it serves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic

from freehold.simulator.batches import BatchPace
from freehold.simulator.model.limits import Limits
from freehold.simulator.served import Served, Settings
from tests.simulator.kit import HAIKU, OLD_HAIKU, listening

_START_US = 1_795_000_000_000_000


@pytest.fixture
async def served() -> Served:
    return Served(Settings(seed=5, start_us=_START_US, stopped=True))


@pytest.fixture
async def url(served: Served) -> AsyncIterator[str]:
    async with listening(served) as url:
        yield url


@pytest.fixture
async def claude(url: str) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(
        api_key="sk-test", base_url=url, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


async def test_a_message_whole_and_streamed(claude: AsyncAnthropic) -> None:
    request = {"model": OLD_HAIKU, "max_tokens": 100, "messages": [{"role": "user", "content": "What is 12 * 12?"}]}
    whole = await claude.messages.create(**request)  # type: ignore[call-overload]
    assert whole.content[0].text == "12 * 12 = 144"
    assert whole._request_id.startswith("req_")
    async with claude.messages.stream(**request) as stream:  # type: ignore[arg-type]
        assert "".join([text async for text in stream.text_stream]) == "12 * 12 = 144"
        final = await stream.get_final_message()
    assert final.usage.output_tokens == whole.usage.output_tokens


async def test_tokens_are_counted_and_models_listed(claude: AsyncAnthropic) -> None:
    counted = await claude.messages.count_tokens(model=HAIKU, messages=[{"role": "user", "content": "Hello"}])
    assert counted.input_tokens > 0
    models = [model.id async for model in claude.models.list(limit=4)]
    assert HAIKU in models and len(models) == len(set(models)) > 10
    assert (await claude.models.retrieve("claude-haiku-4-5")).id == "claude-haiku-4-5-20251001"
    with pytest.raises(anthropic.NotFoundError):
        await claude.models.retrieve("gpt-4")


async def test_the_tool_runner_works_without_threads_and_keeps_its_history(claude: AsyncAnthropic) -> None:
    @anthropic.beta_async_tool
    async def get_user(user_id: str) -> str:
        """Look up a user.

        Args:
            user_id: The user's id.
        """
        return f'{{"id": "{user_id}", "name": "Ada Lovelace", "balance": 1234.5}}'

    runner = claude.beta.messages.tool_runner(
        model=HAIKU, max_tokens=1000, tools=[get_user], messages=[{"role": "user", "content": "Look up user u_1001"}]
    )
    final = await runner.until_done()
    text = "".join(block.text for block in final.content if block.type == "text")
    assert "Ada Lovelace" in text and "1234.5" in text


async def test_parse_gets_json_that_fits_the_model(claude: AsyncAnthropic) -> None:
    import pydantic

    class Order(pydantic.BaseModel):
        order_id: str
        amount: float

    parsed = await claude.messages.parse(
        model=OLD_HAIKU,
        max_tokens=500,
        messages=[{"role": "user", "content": "Order ord_77 has an amount of 12.5 dollars"}],
        output_format=Order,
    )
    assert parsed.parsed_output == Order(order_id="ord_77", amount=12.5)


async def test_thinking_blocks_are_sent_back_and_taken(claude: AsyncAnthropic) -> None:
    tools = [{"name": "ping", "input_schema": {"type": "object", "properties": {}}, "description": "Ping the server"}]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    messages: list[object] = [{"role": "user", "content": "Please ping the server"}]
    request = {"model": "claude-opus-4-5", "max_tokens": 3000, "thinking": thinking, "tools": tools}
    first = await claude.messages.create(**request, messages=messages)  # type: ignore[call-overload]
    assert [block.type for block in first.content] == ["thinking", "text", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": first.content[2].id, "content": "pong"}
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = await claude.messages.create(**request, messages=messages)  # type: ignore[call-overload]
    assert "pong" in second.content[-1].text
    first.content[0].thinking += "!"
    with pytest.raises(anthropic.BadRequestError, match="cannot be modified"):
        await claude.messages.create(**request, messages=messages)  # type: ignore[call-overload]


async def test_errors_are_of_the_sdk_s_classes(url: str, claude: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        await claude.messages.create(model=HAIKU, max_tokens=10, messages=[])
    assert caught.value.type == "invalid_request_error"
    assert str(caught.value.request_id).startswith("req_")
    async with httpx2.AsyncClient(base_url=url) as http:
        assert (await http.post("/v1/messages", json={})).status_code == 401
        answer = await http.get("/v1/messages", headers={"x-api-key": "k"})
        assert answer.status_code == 405
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert (await http.get("/v1/agents", headers={"x-api-key": "k"})).status_code == 404
        too_large = await http.post("/v1/messages", headers={"x-api-key": "k"}, content=b" " * ((32 << 20) + 1))
        assert too_large.status_code == 413
        assert too_large.json()["error"]["type"] == "request_too_large"


async def test_a_batch_runs_on_the_clock_and_its_results_come_in_another_order(
    served: Served, claude: AsyncAnthropic
) -> None:
    def entry(custom_id: str, **params: object) -> dict[str, object]:
        request = {"model": HAIKU, "max_tokens": 50, "messages": [{"role": "user", "content": f"Hello {custom_id}"}]}
        return {"custom_id": custom_id, "params": {**request, **params}}

    requests = [entry(f"r{n}") for n in range(20)] + [entry("bad", max_tokens=0), entry("streams", stream=True)]
    batch = await claude.messages.batches.create(requests=requests)  # type: ignore[arg-type]
    assert batch.processing_status == "in_progress" and batch.request_counts.processing == 22
    assert batch.results_url is None
    await served.clock.advance(10)
    batch = await claude.messages.batches.retrieve(batch.id)
    assert batch.processing_status == "ended"
    assert (batch.request_counts.succeeded, batch.request_counts.errored) == (20, 2)
    found = {one.custom_id: one.result async for one in await claude.messages.batches.results(batch.id)}
    assert list(found) != [one["custom_id"] for one in requests]
    assert found["bad"].type == "errored" and "max_tokens" in found["bad"].error.error.message
    assert found["r1"].type == "succeeded" and found["r1"].message.usage.service_tier == "batch"
    line = next(line for line in served.simulator.claude.account.lines() if line.status == 200)
    used = found["r1"].message.usage
    assert line.nanodollars == (100 * used.input_tokens + 500 * used.output_tokens) // 2
    assert [one.id async for one in claude.messages.batches.list()] == [batch.id]
    assert (await claude.messages.batches.delete(batch.id)).id == batch.id
    with pytest.raises(anthropic.NotFoundError):
        await claude.messages.batches.retrieve(batch.id)


async def test_a_cancelled_batch_keeps_what_was_done(served: Served, claude: AsyncAnthropic) -> None:
    params = {"model": HAIKU, "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}
    requests = [{"custom_id": f"r{n}", "params": params} for n in range(100)]
    batch = await claude.messages.batches.create(requests=requests)  # type: ignore[arg-type]
    with pytest.raises(anthropic.ConflictError):
        await claude.messages.batches.delete(batch.id)
    await served.clock.advance(6)
    batch = await claude.messages.batches.cancel(batch.id)
    assert batch.processing_status == "canceling"
    await served.clock.advance(2)
    batch = await claude.messages.batches.retrieve(batch.id)
    assert batch.processing_status == "ended" and batch.cancel_initiated_at is not None
    assert batch.request_counts.succeeded == 21 and batch.request_counts.canceled == 79


async def test_what_is_not_done_in_a_day_expires() -> None:
    slow = Settings(batch_pace=BatchPace(requests_per_s=0.001), start_us=_START_US, stopped=True)
    served = Served(slow)
    params = {"model": HAIKU, "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}
    requests = [{"custom_id": f"r{n}", "params": params} for n in range(100)]
    async with listening(served) as url, AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as client:
        batch = await client.messages.batches.create(requests=requests)  # type: ignore[arg-type]
        await served.clock.advance(24 * 3600)
        batch = await client.messages.batches.retrieve(batch.id)
        assert (batch.request_counts.succeeded, batch.request_counts.expired) == (87, 13)
        await served.clock.advance(29 * 24 * 3600)
        batch = await client.messages.batches.retrieve(batch.id)
        assert batch.archived_at is not None and batch.results_url is None


async def test_another_workspace_does_not_see_a_batch(url: str, claude: AsyncAnthropic) -> None:
    params = {"model": HAIKU, "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}
    batch = await claude.messages.batches.create(requests=[{"custom_id": "a", "params": params}])  # type: ignore[typeddict-item]
    headers = {"anthropic-workspace-id": "wrkspc_other"}
    other = claude.with_options(default_headers=headers)
    with pytest.raises(anthropic.NotFoundError):
        await other.messages.batches.retrieve(batch.id)


async def test_the_admin_surface_turns_the_clock_orders_faults_and_shows_the_bill(
    url: str, claude: AsyncAnthropic
) -> None:
    async with httpx2.AsyncClient(base_url=f"{url}/freehold/v1/simulator") as admin:
        before = (await admin.get("/clock")).json()
        assert before["stopped"] is True
        after = (await admin.post("/clock", json={"advance_s": 3600})).json()
        assert after["now"] > before["now"]
        await admin.post("/faults", json={"kind": "overloaded", "times": 1})
        with pytest.raises(anthropic.InternalServerError):
            await claude.messages.create(model=HAIKU, max_tokens=5, messages=[{"role": "user", "content": "a"}])
        ok = await claude.messages.create(model=HAIKU, max_tokens=5, messages=[{"role": "user", "content": "a"}])
        account = (await admin.get("/account")).json()
        assert account["total"]["requests"] == 2 and account["total"]["errors"] == 1
        assert account["total"]["nanodollars"] == ok.usage.input_tokens * 100 + ok.usage.output_tokens * 500
        assert "sk-test" not in (await admin.get("/account")).text
        line = (await admin.get(f"/requests/{ok._request_id}")).json()
        assert line["message_id"] == ok.id
        assert (await admin.post("/faults", json={"kind": "explode"})).status_code == 400
        assert (await admin.post("/clock", json={"advance_s": -5})).status_code == 400
        assert (await admin.get("/nothing")).status_code == 404
        assert (await admin.post("/seed", json={"seed": 5})).json()["seed"] == 5
        assert (await admin.get("/account")).json()["total"]["requests"] == 0


async def test_limits_answer_429_with_retry_after_and_headers() -> None:
    served = Served(Settings(limits=Limits(requests=2), start_us=_START_US, stopped=True))
    async with listening(served) as url, AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as client:
        request = {"model": HAIKU, "max_tokens": 5, "messages": [{"role": "user", "content": "a"}]}
        raw = await client.messages.with_raw_response.create(**request)  # type: ignore[call-overload]
        assert raw.headers["anthropic-ratelimit-requests-limit"] == "2"
        assert raw.headers["anthropic-ratelimit-requests-remaining"] == "1"
        assert raw.headers["anthropic-ratelimit-tokens-reset"].endswith("Z")
        await client.messages.create(**request)  # type: ignore[call-overload]
        with pytest.raises(anthropic.RateLimitError) as caught:
            await client.messages.create(**request)  # type: ignore[call-overload]
        assert caught.value.response.headers["retry-after"] == "30"
        await served.clock.advance(30)
        await client.messages.create(**request)  # type: ignore[call-overload]
