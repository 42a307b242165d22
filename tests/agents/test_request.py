"""The request that goes to the model: what of the agent is in it, how long a reply may be, what is said of its box."""

from __future__ import annotations

import pytest

from freehold.agents.request import body, max_tokens, system_prompt
from tests.agents.house import definition


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("claude-opus-5-5", 64_000),
        ("claude-haiku-4-5-20251001", 64_000),
        ("claude-opus-4-1", 32_000),
        ("claude-3-5-haiku-latest", 8_192),
        ("claude-3-haiku-20240307", 4_096),
        ("qwen3:8b", 8_192),
    ],
)
def test_a_reply_is_never_asked_to_be_longer_than_its_model_can(model: str, limit: int) -> None:
    assert max_tokens(model) == limit


def test_options_of_the_model_go_along_only_where_they_say_something() -> None:
    plain = body(definition(), "", [], [])
    assert set(plain) == {"model", "max_tokens", "stream", "messages", "cache_control"}
    model = {"id": "claude-opus-5-5", "effort": {"type": "high"}, "speed": "fast", "inference_geo": "us"}
    asked = body(definition(model=model), "", [], [])
    assert asked["output_config"] == {"effort": "high"}
    assert asked["speed"] == "fast" and asked["inference_geo"] == "us"


def test_a_model_that_is_not_claude_is_asked_without_what_only_claude_knows() -> None:
    model = {"id": "qwen3:8b", "effort": None, "speed": "standard", "inference_geo": None}
    assert "cache_control" not in body(definition(model=model), "", [], [])


def test_the_system_prompt_tells_of_the_box_only_where_there_is_one() -> None:
    agent = definition()
    assert system_prompt(agent, False, []) == "Be brief."
    told = system_prompt(agent, True, ["/mnt/session/uploads/a.csv"])
    assert told.startswith("Be brief.") and "/mnt/session/uploads/a.csv" in told and "/mnt/session/outputs" in told
    assert "uploads." in system_prompt(definition(system=None), True, [])
