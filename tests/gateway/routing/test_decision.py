"""The rule as a pure function: its order, what moves a call up or down, and that a record gives its decision again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from freehold.gateway.routing.decision import Decision, Inputs, Learned, Option, decide, explain

MODELS = {"simple": "claude-haiku-5-5", "balanced": "claude-sonnet-5-5", "complex": "claude-opus-5-5"}


def option(tier: str, expected: int, most: int, **more: Any) -> Option:
    return Option(tier, MODELS[tier], 1000, more.pop("cached", 0), expected, most, more.pop("above", False), **more)


OPTIONS = [option("simple", 10, 50), option("balanced", 200, 1000), option("complex", 400, 2000)]


def inputs(**members: Any) -> Inputs:
    return Inputs("auto", members.pop("options", OPTIONS), members.pop("dearest", True), **members)


def outcome(**members: Any) -> tuple[str | None, str]:
    made = decide(inputs(**members))
    return made.tier, made.because


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, ("balanced", "balanced")),
        ({"reasoning": True}, ("complex", "requires_reasoning")),
        ({"simple_words": ["翻译"], "reasoning": True}, ("simple", "simple_words")),
        ({"simple_words": ["翻译"], "complex_words": ["分析"]}, ("complex", "complex_words")),
        ({"task_tier": "simple", "complex_words": ["design"], "reasoning": True}, ("simple", "task_type")),
        ({"simple_words": ["summary"], "least": [("balanced", "long_prompt")]}, ("balanced", "long_prompt")),
    ],
)
def test_the_order_is_header_then_complex_before_simple_words_then_reasoning_else_balanced(
    members: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert outcome(**members) == expected


def test_a_conversation_goes_up_but_never_down() -> None:
    assert outcome(before="complex", simple_words=["translate"]) == ("complex", "conversation")
    assert outcome(before="simple", complex_words=["design"]) == ("complex", "complex_words")


def test_a_model_that_refuses_the_request_is_left_out() -> None:
    forced = [OPTIONS[0], *(msgspec.structs.replace(one, refuses="no forced calls") for one in OPTIONS[1:])]
    assert outcome(options=forced, complex_words=["design"]) == ("simple", "refused_by_model")
    none = [msgspec.structs.replace(one, refuses="no") for one in OPTIONS]
    assert outcome(options=none) == (None, "refused_by_all")


def test_a_maximal_cost_takes_the_dearest_tier_that_fits_and_refuses_when_none_does() -> None:
    assert outcome(most_nanodollars=2000) == ("complex", "max_cost")
    assert outcome(most_nanodollars=1999) == ("balanced", "balanced")
    assert outcome(most_nanodollars=999, complex_words=["design"]) == ("simple", "max_cost")
    assert outcome(most_nanodollars=49) == (None, "max_cost")
    assert outcome(most_nanodollars=5000, task_tier="simple") == ("simple", "task_type"), "what is named is not raised"
    assert outcome(most_nanodollars=5000, dearest=False) == ("balanced", "balanced")


def test_a_warm_cache_counts_as_money() -> None:
    warm = [option("simple", 100, 500), option("balanced", 90, 1000, cached=900), OPTIONS[2]]
    assert outcome(options=warm, simple_words=["translate"]) == ("balanced", "warm_or_cheaper")


def test_what_was_learned_moves_down_only_below_its_threshold_and_on_familiar_prompts() -> None:
    assert outcome(learned=Learned(0.1, 0.2, True)) == ("simple", "learned")
    assert outcome(learned=Learned(0.3, 0.2, True)) == ("balanced", "balanced")
    assert outcome(learned=Learned(0.1, 0.2, False)) == ("balanced", "balanced")
    assert outcome(learned=Learned(0.1, 0.2, True), task_tier="complex") == ("complex", "task_type")
    assert outcome(learned=Learned(0.1, 0.2, True), reasoning=True) == ("complex", "requires_reasoning")


def test_a_record_alone_gives_the_decision_again_and_explains_it() -> None:
    made = inputs(complex_words=["设计"], before="simple", most_nanodollars=1500, learned=Learned(0.5, 0.2, True))
    decision = decide(made)
    kept = msgspec.json.decode(msgspec.json.encode(made), type=Inputs)
    read = msgspec.json.decode(msgspec.json.encode(decision), type=Decision)
    assert decide(kept) == decision == read
    told = " ".join(explain(kept, read))
    assert "设计" in told
    assert "claude-sonnet-5-5 answered" in told
