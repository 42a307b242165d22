"""Messages through the official SDK in strict mode, against the whole application: plain, beta, sync and async."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from anthropic import AsyncAnthropic, BadRequestError, beta_async_tool, beta_tool
from pydantic import BaseModel

from freehold.testing import Running
from tests.contract.manifest import proves, shows_difference
from tests.contract.strict import undeclared

MODEL = "claude-haiku-5-5"
HELLO: list[Any] = [{"role": "user", "content": "Hello, my name is Ada and I am 36."}]
ASK: Any = {"role": "user", "content": "What is the weather in Oslo? Use get_weather."}


class Person(BaseModel):
    """What `parse` is to find."""

    name: str
    age: int


@beta_tool
def get_weather(city: str) -> str:
    """Say what the weather is.

    Args:
        city: where
    """
    return f"It snows in {city}."


@beta_async_tool
async def get_weather_soon(city: str) -> str:
    """Say what the weather will be.

    Args:
        city: where
    """
    return f"It will snow in {city}."


def words(message: Any) -> str:
    """The text of an answer, which must be sound."""
    assert undeclared(message) == []
    assert message.type == "message" and message.id.startswith("msg_")
    return "".join(block.text for block in message.content if block.type == "text")


@proves("messages.create", "messages.stream", "messages.count_tokens", "messages.parse")
async def test_the_async_client_gets_messages_in_every_form(running: Running) -> None:
    messages = running.client.messages
    whole = await messages.create(model=MODEL, max_tokens=100, messages=HELLO)
    assert words(whole) and whole.stop_reason == "end_turn" and whole.usage.output_tokens > 0
    events = [e async for e in await messages.create(model=MODEL, max_tokens=100, messages=HELLO, stream=True)]
    assert (events[0].type, events[-1].type) == ("message_start", "message_stop")
    assert [found for event in events for found in undeclared(event)] == []
    async with messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
        pieces = [text async for text in stream.text_stream]
        final = await stream.get_final_message()
    assert len(pieces) > 1 and "".join(pieces) == words(final) == words(whole)
    counted = await messages.count_tokens(model=MODEL, messages=HELLO)
    assert undeclared(counted) == [] and counted.input_tokens == whole.usage.input_tokens
    parsed = await messages.parse(model=MODEL, max_tokens=100, messages=HELLO, output_format=Person)
    assert parsed.parsed_output == Person(name="Ada", age=36)


@proves("messages.create", "messages.stream", "messages.count_tokens", "messages.parse", clients=("sync",))
async def test_the_sync_client_gets_messages_in_every_form(running: Running) -> None:
    messages = running.sync_client.messages

    def every_form() -> None:
        whole = messages.create(model=MODEL, max_tokens=100, messages=HELLO)
        events = list(messages.create(model=MODEL, max_tokens=100, messages=HELLO, stream=True))
        assert (events[0].type, events[-1].type) == ("message_start", "message_stop")
        with messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
            pieces = list(stream.text_stream)
            final = stream.get_final_message()
        assert len(pieces) > 1 and "".join(pieces) == words(final) == words(whole)
        counted = messages.count_tokens(model=MODEL, messages=HELLO)
        assert counted.input_tokens == whole.usage.input_tokens
        parsed = messages.parse(model=MODEL, max_tokens=100, messages=HELLO, output_format=Person)
        assert parsed.parsed_output == Person(name="Ada", age=36)

    await asyncio.to_thread(every_form)


@proves("beta.messages.create", "beta.messages.stream", "beta.messages.count_tokens", "beta.messages.parse")
async def test_the_async_beta_face_answers_alike(running: Running) -> None:
    messages = running.client.beta.messages
    whole = await messages.create(model=MODEL, max_tokens=100, messages=HELLO, betas=["a-beta-nobody-knows"])
    async with messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
        final = await stream.get_final_message()
    assert words(final) == words(whole) != ""
    counted = await messages.count_tokens(model=MODEL, messages=HELLO)
    assert counted.input_tokens == whole.usage.input_tokens
    parsed = await messages.parse(model=MODEL, max_tokens=100, messages=HELLO, output_format=Person)
    assert parsed.parsed_output == Person(name="Ada", age=36)


@proves(
    "beta.messages.create",
    "beta.messages.stream",
    "beta.messages.count_tokens",
    "beta.messages.parse",
    clients=("sync",),
)
async def test_the_sync_beta_face_answers_alike(running: Running) -> None:
    messages = running.sync_client.beta.messages

    def every_form() -> None:
        whole = messages.create(model=MODEL, max_tokens=100, messages=HELLO)
        with messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
            final = stream.get_final_message()
        assert words(final) == words(whole) != ""
        counted = messages.count_tokens(model=MODEL, messages=HELLO)
        assert counted.input_tokens == whole.usage.input_tokens
        parsed = messages.parse(model=MODEL, max_tokens=100, messages=HELLO, output_format=Person)
        assert parsed.parsed_output == Person(name="Ada", age=36)

    await asyncio.to_thread(every_form)


@proves("beta.messages.tool_runner")
async def test_the_async_tool_runner_goes_from_the_question_to_the_answer(running: Running) -> None:
    ask: Any = {"role": "user", "content": "What will the weather be in Oslo? Use get_weather_soon."}
    runner = running.client.beta.messages.tool_runner(
        model=MODEL, max_tokens=1000, tools=[get_weather_soon], messages=[ask]
    )
    answers = [message async for message in runner]
    assert [message.stop_reason for message in answers] == ["tool_use", "end_turn"]
    assert "It will snow in Oslo." in words(answers[-1])


@proves("beta.messages.tool_runner", clients=("sync",))
async def test_the_sync_tool_runner_goes_from_the_question_to_the_answer(running: Running) -> None:
    tool_runner = running.sync_client.beta.messages.tool_runner

    def whole_and_streamed() -> tuple[list[Any], list[Any]]:
        runner = tool_runner(model=MODEL, max_tokens=1000, tools=[get_weather], messages=[ASK])
        streams = tool_runner(model=MODEL, max_tokens=1000, tools=[get_weather], messages=[ASK], stream=True)
        return list(runner), [stream.get_final_message() for stream in streams]

    for answers in await asyncio.to_thread(whole_and_streamed):
        assert [message.stop_reason for message in answers] == ["tool_use", "end_turn"]
        assert "It snows in Oslo." in words(answers[-1])


@proves("beta.messages.thread")
@shows_difference("message-threads-not-built")
async def test_a_thread_goes_on_without_the_server_or_is_refused_with_the_code_for_it(running: Running) -> None:
    open_thread = running.client.beta.messages.thread
    thread = open_thread(model=MODEL, max_tokens=200, unsupported_request_behavior="continue_unthreaded")
    first = await thread.send(HELLO[0])
    second = await thread.send({"role": "user", "content": "And now?"})
    assert words(first) and words(second)
    assert second.usage.input_tokens > first.usage.input_tokens, "the whole conversation was sent"
    with pytest.raises(BadRequestError) as refused:
        await open_thread(model=MODEL, max_tokens=200).send(HELLO[0])
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["error"]["details"]["error_code"] == "thread_unsupported_request"


@proves("beta.messages.thread", clients=("sync",))
async def test_a_thread_of_the_sync_client_goes_on_without_the_server(running: Running) -> None:
    def talk() -> tuple[Any, Any]:
        thread = running.sync_client.beta.messages.thread(
            model=MODEL, max_tokens=200, unsupported_request_behavior="continue_unthreaded"
        )
        return thread.send(HELLO[0]), thread.send({"role": "user", "content": "And now?"})

    first, second = await asyncio.to_thread(talk)
    assert words(first) and second.usage.input_tokens > first.usage.input_tokens


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
        ("claude-opus-4-5", "claude-opus-4-5-20251101"),
        ("claude-opus-4-5-20251101", "claude-opus-4-5-20251101"),
    ],
)
@pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning")
async def test_ids_of_the_4_5_family_answer(running: Running, asked: str, answers: str) -> None:
    message = await running.client.messages.create(model=asked, max_tokens=50, messages=HELLO)
    assert message.model == answers and words(message)


async def test_an_older_client_s_headers_are_taken(running: Running) -> None:
    older = AsyncAnthropic(
        api_key=None,
        auth_token=None,
        base_url=running.client.base_url,
        http_client=running.client._client,
        default_headers={"x-api-key": running.key, "anthropic-version": "2023-06-01", "authorization": ""},
        _strict_response_validation=True,
    )
    assert words(await older.messages.create(model=MODEL, max_tokens=50, messages=HELLO))
