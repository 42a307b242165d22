"""instructor's Anthropic modes: what it asks for is always an object."""

from __future__ import annotations

from typing import Any

import anthropic
import instructor
import pydantic
from instructor.processing.multimodal import PDF
from suite import BASE_URL, HAIKU, IMAGE_TEXT, KEY, PDF_TEXT, SONNET, case, raises, run


class Person(pydantic.BaseModel):
    """A person."""

    name: str
    age: int


ASKED: Any = {"max_tokens": 300, "messages": [{"role": "user", "content": "Ann is 31 years old."}], "max_retries": 0}


def client(mode: instructor.Mode = instructor.Mode.TOOLS, **headers: str) -> Any:
    plain = anthropic.Anthropic(base_url=BASE_URL, api_key=KEY, max_retries=0, default_headers=headers)
    return instructor.from_anthropic(plain, mode=mode)


@case
def messages() -> None:
    person, answer = client().create_with_completion(model=HAIKU, response_model=Person, **ASKED)
    assert isinstance(person, Person) and answer.usage.output_tokens > 0


@case
def streams() -> None:
    pieces = list(client().create_partial(model=HAIKU, response_model=Person, **ASKED))
    assert pieces[-1].name and pieces[-1].age is not None


@case
async def async_messages() -> None:
    plain = anthropic.AsyncAnthropic(base_url=BASE_URL, api_key=KEY, max_retries=0)
    person = await instructor.from_anthropic(plain).create(model=HAIKU, response_model=Person, **ASKED)
    assert isinstance(person, Person)


@case
def tools() -> None:
    people = client().create(model=HAIKU, response_model=list[Person], **ASKED)
    assert all(isinstance(person, Person) for person in people)


@case
def thinking() -> None:
    asked = {**ASKED, "max_tokens": 3000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    asked["messages"] = [{"role": "user", "content": "Give me the person with the name Ann and the age 31."}]
    made = client(instructor.Mode.ANTHROPIC_REASONING_TOOLS).create(model=SONNET, response_model=Person, **asked)
    assert isinstance(made, Person)


@case
def images() -> None:
    image = instructor.Image.from_base64(f"data:image/png;base64,{IMAGE_TEXT}")
    asked = {**ASKED, "messages": [{"role": "user", "content": ["Ann is 31 years old.", image]}]}
    assert isinstance(client().create(model=HAIKU, response_model=Person, **asked), Person)


@case
def pdfs() -> None:
    pdf = PDF.from_base64(f"data:application/pdf;base64,{PDF_TEXT}")
    asked = {**ASKED, "messages": [{"role": "user", "content": ["Ann is 31 years old.", pdf]}]}
    assert isinstance(client().create(model=HAIKU, response_model=Person, **asked), Person)


@case
def structured_output() -> None:
    assert isinstance(client().create(model=SONNET, response_model=Person, **ASKED), Person)


@case
def errors() -> None:
    failing = client(**{"x-freehold-fault": "overloaded"})
    error = raises(Exception, lambda: failing.create(model=HAIKU, response_model=Person, **ASKED))
    assert "overloaded" in str(error).lower(), error


run("instructor", "anthropic")
