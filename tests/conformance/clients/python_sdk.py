"""The official Python SDK, strict: it raises where an answer differs from its own types."""

from __future__ import annotations

from typing import Any

import anthropic
import pydantic
from suite import BASE_URL, HAIKU, IMAGE_TEXT, KEY, PDF_TEXT, SONNET, case, get_weather, raises, run

client = anthropic.Anthropic(base_url=BASE_URL, api_key=KEY, max_retries=0, _strict_response_validation=True)
HELLO: Any = {"model": HAIKU, "max_tokens": 100, "messages": [{"role": "user", "content": "Say hello."}]}


def asking(*content: Any, **more: Any) -> Any:
    return {**HELLO, "messages": [{"role": "user", "content": list(content)}], **more}


def text(words: str) -> Any:
    return {"type": "text", "text": words}


@case
def messages() -> None:
    answer = client.messages.create(**HELLO)
    assert answer.content[0].type == "text" and answer.stop_reason == "end_turn" and answer.usage.output_tokens > 0
    assert answer._request_id


@case
def streams() -> None:
    with client.messages.stream(**HELLO) as stream:
        pieces = list(stream.text_stream)
        whole = stream.get_final_message()
    assert "".join(pieces) == whole.content[0].text and whole.usage.output_tokens > 0


@case
async def async_streams() -> None:
    async with (
        anthropic.AsyncAnthropic(
            base_url=BASE_URL, api_key=KEY, max_retries=0, _strict_response_validation=True
        ) as asynchronous,
        asynchronous.messages.stream(**HELLO) as stream,
    ):
        kinds = [event.type async for event in stream]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"


@case
def tools() -> None:
    tool = anthropic.beta_tool(get_weather)
    runner = client.beta.messages.tool_runner(
        model=HAIKU,
        max_tokens=300,
        tools=[tool],
        messages=[{"role": "user", "content": "What is the weather in Turin?"}],
    )
    turns = list(runner)
    assert any(block.type == "tool_use" for block in turns[0].content)
    assert "sunny" in turns[-1].content[-1].text


@case
def streamed_tools() -> None:
    tool: Any = {
        "name": "get_weather",
        "description": "Get the weather in a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
    asked = asking(text("What is the weather in Turin?"), tools=[tool], tool_choice={"type": "any"})
    with client.messages.stream(**asked) as stream:
        (block,) = [block for block in stream.get_final_message().content if block.type == "tool_use"]
    assert block.input == {"city": "Turin"}


@case
def thinking() -> None:
    asked = {**HELLO, "model": SONNET, "max_tokens": 3000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    with client.messages.stream(**asked) as stream:
        first, *_ = answer = stream.get_final_message().content
    assert first.type == "thinking" and first.signature
    turns = [*HELLO["messages"], {"role": "assistant", "content": answer}, {"role": "user", "content": "Again."}]
    assert client.messages.create(**{**asked, "messages": turns}).stop_reason == "end_turn"


@case
def images() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": IMAGE_TEXT}
    with_image = client.messages.create(**asking({"type": "image", "source": source}, text("What is this?")))
    plain = client.messages.create(**asking(text("What is this?")))
    assert with_image.usage.input_tokens > plain.usage.input_tokens


@case
def pdfs() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF_TEXT}
    answer = client.messages.create(**asking({"type": "document", "source": source}, text("Sum it up.")))
    assert answer.stop_reason == "end_turn"


class Person(pydantic.BaseModel):
    name: str
    age: int


@case
def structured_output() -> None:
    asked = asking(text("Ann is 31 years old."), model=SONNET)
    parsed = client.messages.parse(**asked, output_format=Person).parsed_output
    assert isinstance(parsed, Person)


@case
def count_tokens() -> None:
    counted = client.messages.count_tokens(model=HAIKU, messages=HELLO["messages"]).input_tokens
    assert counted == client.messages.create(**HELLO).usage.input_tokens


@case
def errors() -> None:
    def failing(fault: str) -> Any:
        return lambda: client.messages.create(**HELLO, extra_headers={"x-freehold-fault": fault})

    assert raises(anthropic.OverloadedError, failing("overloaded")).status_code == 529
    limited = raises(anthropic.RateLimitError, failing("rate_limit; retry_after_s=7"))
    assert limited.response.headers["retry-after"] == "7" and limited.request_id
    raises(anthropic.InternalServerError, failing("api_error"))
    raises(anthropic.BadRequestError, lambda: client.messages.create(**{**HELLO, "max_tokens": -1}))
    raises(anthropic.NotFoundError, lambda: client.messages.create(**{**HELLO, "model": "claude-none"}))
    raises(anthropic.AuthenticationError, lambda: client.with_options(api_key="sk-no").messages.create(**HELLO))


run("anthropic")
