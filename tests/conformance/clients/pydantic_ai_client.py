"""Pydantic AI over its Anthropic model."""

from __future__ import annotations

from typing import Any

import anthropic
import pydantic
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.anthropic import AnthropicModel, AnthropicModelSettings
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.usage import UsageLimits
from suite import BASE_URL, HAIKU, IMAGE, KEY, PDF, SONNET, case, get_weather, run


def model(name: str = HAIKU, **headers: str) -> AnthropicModel:
    client = anthropic.AsyncAnthropic(base_url=BASE_URL, api_key=KEY, max_retries=0, default_headers=headers)
    return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=client))


@case
async def messages() -> None:
    result = await Agent(model()).run("Say hello.")
    assert result.output and result.usage.output_tokens > 0


@case
async def streams() -> None:
    async with Agent(model()).run_stream("Say hello.") as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 1


@case
async def tools() -> None:
    agent = Agent(model(), tools=[get_weather])
    result = await agent.run("What is the weather in Turin?")
    assert "sunny" in result.output


@case
async def streamed_tools() -> None:
    agent = Agent(model(), tools=[get_weather])
    async with agent.run_stream_events("What is the weather in Turin?") as stream:
        events = [event async for event in stream]
    assert any(event.event_kind == "function_tool_call" for event in events)
    assert "sunny" in events[-1].result.output


@case
async def thinking() -> None:
    settings = AnthropicModelSettings(max_tokens=3000, anthropic_thinking={"type": "enabled", "budget_tokens": 1024})
    agent = Agent(model(SONNET), model_settings=settings)
    first = await agent.run("Say hello.")
    assert any(part.part_kind == "thinking" and part.signature for part in first.new_messages()[-1].parts)
    assert (await agent.run("Again.", message_history=first.all_messages())).output


@case
async def images() -> None:
    assert (await Agent(model()).run(["What is this?", BinaryContent(IMAGE, media_type="image/png")])).output


@case
async def pdfs() -> None:
    assert (await Agent(model()).run(["Sum it up.", BinaryContent(PDF, media_type="application/pdf")])).output


class Person(pydantic.BaseModel):
    """A person."""

    name: str
    age: int


@case
async def structured_output() -> None:
    wanted: list[Any] = [Person, NativeOutput(Person)]
    for output in wanted:
        made = await Agent(model(SONNET), output_type=output).run("Ann is 31 years old.")
        assert isinstance(made.output, Person)


@case
async def count_tokens() -> None:
    limits = UsageLimits(input_tokens_limit=10_000, count_tokens_before_request=True)
    assert (await Agent(model()).run("Say hello.", usage_limits=limits)).output


@case
async def errors() -> None:
    for fault, status in (("overloaded", 529), ("rate_limit", 429), ("bad_gateway", 502)):
        try:
            await Agent(model(**{"x-freehold-fault": fault})).run("Say hello.")
        except ModelHTTPError as error:
            assert error.status_code == status, error
        else:
            raise AssertionError(f"{fault} was not raised")


run("pydantic-ai-slim", "anthropic")
