"""LangChain's ChatAnthropic."""

from __future__ import annotations

from typing import Any

import anthropic
import pydantic
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from suite import BASE_URL, HAIKU, IMAGE_TEXT, KEY, PDF_TEXT, SONNET, case, raises, run


def model(name: str = HAIKU, **more: Any) -> ChatAnthropic:
    return ChatAnthropic(model=name, base_url=BASE_URL, api_key=KEY, max_tokens=200, max_retries=0, **more)


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"It is sunny in {city}."


@case
def messages() -> None:
    answer = model().invoke("Say hello.")
    assert answer.text and answer.usage_metadata["output_tokens"] > 0


@case
def streams() -> None:
    chunks = list(model().stream("Say hello."))
    whole = sum(chunks[1:], chunks[0])
    assert len(chunks) > 2 and whole.text and whole.usage_metadata["output_tokens"] > 0


@case
async def async_streams() -> None:
    assert len([chunk async for chunk in model().astream("Say hello.")]) > 2


@case
def tools() -> None:
    bound, asked = model().bind_tools([get_weather]), HumanMessage("What is the weather in Turin?")
    answer = bound.invoke([asked])
    (call,) = answer.tool_calls
    assert call["args"] == {"city": "Turin"}
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    assert "sunny" in bound.invoke([asked, answer, result]).text


@case
def streamed_tools() -> None:
    chunks = list(model().bind_tools([get_weather]).stream("What is the weather in Turin?"))
    (call,) = sum(chunks[1:], chunks[0]).tool_calls
    assert call["args"] == {"city": "Turin"}


@case
def thinking() -> None:
    thoughtful = ChatAnthropic(
        model=SONNET,
        base_url=BASE_URL,
        api_key=KEY,
        max_tokens=3000,
        max_retries=0,
        thinking={"type": "enabled", "budget_tokens": 1024},
    )
    asked = HumanMessage("Say hello.")
    answer = thoughtful.invoke([asked])
    assert answer.content[0]["type"] == "thinking"
    assert thoughtful.invoke([asked, answer, HumanMessage("Again.")]).text


@case
def images() -> None:
    image = {"type": "image", "base64": IMAGE_TEXT, "mime_type": "image/png"}
    assert model().invoke([HumanMessage([image, {"type": "text", "text": "What is this?"}])]).text


@case
def pdfs() -> None:
    pdf = {"type": "file", "base64": PDF_TEXT, "mime_type": "application/pdf"}
    assert model().invoke([HumanMessage([pdf, {"type": "text", "text": "Sum it up."}])]).text


class Person(pydantic.BaseModel):
    """A person."""

    name: str
    age: int


@case
def structured_output() -> None:
    for method in ("function_calling", "json_schema"):
        made = model(SONNET).with_structured_output(Person, method=method).invoke("Ann is 31 years old.")
        assert isinstance(made, Person), method


@case
def count_tokens() -> None:
    assert model().get_num_tokens_from_messages([HumanMessage("Say hello.")]) > 0


@case
def errors() -> None:
    for fault, kind in (
        ("overloaded", anthropic.OverloadedError),
        ("rate_limit", anthropic.RateLimitError),
        ("bad_gateway", anthropic.InternalServerError),
    ):
        failing = model(default_headers={"x-freehold-fault": fault})
        raises(kind, lambda failing=failing: failing.invoke("Say hello."))
    raises(anthropic.NotFoundError, lambda: model("claude-none").invoke("Say hello."))


run("langchain-anthropic", "langchain-core", "anthropic")
