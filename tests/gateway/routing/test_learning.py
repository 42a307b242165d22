"""What is learned, how far it is trusted, and when it is not trusted any more."""

from __future__ import annotations

import json
import random
import statistics
from typing import Any

import pytest

from benchmarks.routing.quality import (
    RESULTS,
    SPLITS,
    apgr,
    by_subject,
    change,
    compare,
    keywords,
    learned,
    quality,
    questions,
    split,
    violations,
)
from freehold.gateway.routing.answers import closed_answer
from freehold.gateway.routing.bound import CLOSED, LEAST_JUDGED, Judged, gate
from freehold.gateway.routing.learner import Learner, features_of
from freehold.gateway.routing.learning import Route, shape_of

_NEAR = 0.005
FIGURES = ("quality_at_50", "apgr")


def test_the_learner_tells_what_it_was_taught_and_more_than_the_keyword_rule() -> None:
    train, test = split(random.Random(3).sample(questions(), 5000), 1)
    ours, rule, subject = learned(train, test), keywords(train, test), by_subject(train, test)
    assert apgr(ours, test) > 0.57
    assert apgr(ours, test) > apgr(rule, test) + 0.04
    assert apgr(subject, test) > 0.55
    assert quality(ours, test, 0.0) <= quality(ours, test, 0.5) <= quality(ours, test, 1.0) + 0.02


def test_a_gate_keeps_its_bound_in_a_slice_of_the_draws() -> None:
    chance = random.Random(5)
    pool = [Judged(score, float(chance.random() < 0.3 * score)) for score in (chance.random() for _ in range(20_000))]
    over = 0
    for _ in range(300):
        found = gate(chance.sample(pool, 1000), 0.02)
        over += sum(one.loss for one in pool if one.score < found.threshold) / len(pool) > 0.02
    assert over / 300 <= 0.05
    assert gate(pool, 0.02).share > 0.2


def test_a_gate_stays_closed_without_enough_judged_requests_or_with_too_many_losses() -> None:
    few = [Judged(number / 1000, 0.0) for number in range(LEAST_JUDGED - 1)]
    assert gate(few, 0.5) == CLOSED
    assert gate([Judged(number / 1000, 1.0) for number in range(1000)], 0.02) == CLOSED
    assert gate([Judged(number / 1000, 0.0) for number in range(1000)], 0.02).share == 1.0


@pytest.mark.parametrize(("first", "then", "most_loss"), [("gsm8k", "mmlu", 0.2)])
def test_when_the_questions_change_the_calls_return_to_the_strong_model(
    first: str, then: str, most_loss: float
) -> None:
    found = change(first, then, judged_share=0.0, most_loss=most_loss)
    assert found["cheap_share_before"] > 0.3, "else there is nothing to return from"
    assert found["strong_share_by_hundred"][2:] == [1.0] * 11


def test_losses_close_a_gate_also_where_the_prompts_look_the_same() -> None:
    route, text = Route(0.05), b"what is the capital of peru"
    features, shape = features_of(text), shape_of(text)
    for _ in range(400):
        route.judge(features, shape, 0.0)
    assert route.gate.share == 1.0
    for _ in range(400):
        route.judge(features, shape, 1.0)
    seen = route.look(text)
    assert not seen.loss < seen.threshold


def test_the_learner_forgets_nothing_within_its_bound_and_learns_two_kinds_apart() -> None:
    learner = Learner()
    good, bad = features_of(b"translate this word"), features_of(b"prove this theorem about rings")
    for _ in range(60):
        for features, worse in ((good, 0.0), (bad, 1.0)):
            learner.see(features)
            learner.learn(features, worse)
    assert learner.chance(good) < 0.2 < 0.8 < learner.chance(bad)


def test_text_of_other_scripts_has_features() -> None:
    assert len(features_of("请翻译这段话".encode())) >= 5


def _answer(*blocks: dict[str, Any], stop: str = "end_turn") -> bytes:
    return json.dumps({"type": "message", "content": list(blocks), "stop_reason": stop}).encode()


def _text(text: str) -> bytes:
    return _answer({"type": "text", "text": text})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (_text("Paris."), _text(" paris"), True),
        (_text("Paris"), _text("London"), False),
        (_text("So 3 + 4 makes seven.\n#### 7"), _text("The answer is $7.00"), True),
        (_text('{"a": 1, "b": [2]}'), _text('```json\n{"b":[2],"a":1}\n```'), True),
        (_text('{"a": 1}'), _text('{"a": 2}'), False),
        (
            _answer({"type": "tool_use", "id": "x", "name": "n", "input": {"a": 1, "b": 2}}, stop="tool_use"),
            _answer({"type": "tool_use", "id": "y", "name": "n", "input": {"b": 2, "a": 1}}, stop="tool_use"),
            True,
        ),
    ],
)
def test_closed_answers_are_compared_by_what_they_say(one: bytes, other: bytes, same: bool) -> None:
    assert closed_answer(one) is not None
    assert (closed_answer(one) == closed_answer(other)) is same


def test_answers_that_would_keep_a_pattern_busy_are_judged_at_once() -> None:
    assert closed_answer(_text("```" + " " * 30_000 + "x")) is not None
    assert closed_answer(_text("answer: 1" + "," * 30_000 + " is the last word of a rather long tale of many")) is None


def test_free_text_and_what_was_cut_off_is_no_closed_answer() -> None:
    assert closed_answer(_text("It is a long story about many things and people.")) is None
    assert closed_answer(_answer({"type": "text", "text": "Paris"}, stop="max_tokens")) is None
    assert closed_answer(b"[]") is None


def test_the_committed_figures_hold_what_is_said_of_them() -> None:
    found = json.loads(RESULTS.read_text())
    assert found["splits"] == SPLITS == len(found["by_split"]["ours"]["apgr"])
    ours, reference = found["summary"]["ours"], found["summary"]["scikit_learn"]
    for name in FIGURES:
        assert ours[name]["mean"] >= reference[name]["mean"] - _NEAR
    assert all(run["violated"] <= 0.05 for run in found["bound"]["runs"] if run["draws"] == 500)
    for run in found["changes"]:
        assert run["cheap_share_before"] > 0.3
        assert min(run["strong_share_by_hundred"][2:]) == 1.0


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_over_twenty_splits_the_learner_is_as_good_as_the_reference(request: pytest.FixtureRequest) -> None:
    if "soak" not in str(request.config.getoption("markexpr")):
        pytest.skip("`make soak` runs it")
    every = questions()
    found = compare(every, {"ours": learned}, range(SPLITS))
    kept = json.loads(RESULTS.read_text())["by_split"]["scikit_learn"]  # of the same folds
    for name in FIGURES:
        assert statistics.mean(found["ours"][name]) >= statistics.mean(kept[name]) - _NEAR
    assert violations(every, 500, 1000)["violated"] <= 0.05
    for first, then, loss in (("mmlu", "gsm8k", 0.05), ("gsm8k", "mmlu", 0.2)):
        shares = change(first, then, judged_share=0.1, most_loss=loss)["strong_share_by_hundred"]
        assert min(shares[2:]) == 1.0
