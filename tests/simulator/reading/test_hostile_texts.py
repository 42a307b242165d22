"""Reading a hostile text costs about its length: no pattern may run away."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.simulator.kit import HAIKU, ask, assistant, body, simulator, tool, user

_TOOLS = [
    tool("bash", "Run a command", command="string"),
    tool("edit", "Edit a file", file_path="string", old_string="string", new_string="string"),
    tool("get_weather", "The weather", city="string"),
    tool(
        "send_email", "Send an email", email="string", days="integer", user_id="string", url="string", amount="number"
    ),
]
_PIECES = (
    *(
        "a/",
        "/a",
        '"',
        "```",
        "```\n",
        "~~~\n```x\n",
        "(",
        "1,",
        "1",
        "1+",
        "1-",
        "-1",
        "a@",
        "A1 ",
        "Ab, ",
        "in Ab and ",
    ),
    *(
        "*/",
        "**/",
        ".",
        "查",
        "在北京",
        "find ",
        "查找",
        "`",
        " ",
        "\n",
        "a_",
        "a1_",
        "a: ",
        "Ab ",
        "a",
        "http://",
        "“",
        "《",
    ),
    *("email to email ", "did you mean ", "a.", "'a", "{", "[", "no x ", "1 天"),
)
_LENGTH = 300_000
_MOST_S = 5.0
"""A pattern of quadratic cost takes minutes for these lengths; a linear one, on a busy machine, well under a second."""


@pytest.mark.parametrize("piece", _PIECES)
def test_a_hostile_text_or_result_is_read_in_time(piece: str) -> None:
    text = "find read run replace send email weather " + piece * (_LENGTH // len(piece)) + " send"
    use = {"type": "tool_use", "id": "t", "name": "get_weather", "input": {"city": "Paris"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": text, "is_error": True}
    asked = (
        body(text, tools=_TOOLS, model=HAIKU),
        body("The weather in Paris?", assistant(use), user(result), tools=_TOOLS, model=HAIKU),
    )
    for request in asked:
        begun = time.process_time()
        status, _ = asyncio.run(ask(simulator(), request))
        assert status == 200
        assert time.process_time() - begun < _MOST_S
