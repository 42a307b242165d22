"""The forecast: it holds for traffic that it was not tuned on, and says nothing where nothing is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.forecast import TUNED, UNSEEN, run, simulate
from freehold.batches.forecast import LEAST_KNOWN, output_tokens


def test_a_seeded_slice_of_the_simulated_batches_is_covered_and_not_too_wide() -> None:
    seen = [simulate(seed, UNSEEN, most_calls=200) for seed in range(150)]
    assert sum(one.held for one in seen) >= 125  # of 150 at 90 %, fewer would come once in 300 slices
    assert sorted(one.width for one in seen)[75] <= 1.5


@pytest.mark.soak
def test_two_thousand_simulated_batches_hold_the_bars() -> None:
    found = run(2_000)
    assert found["all"]["coverage_wilson_99_low"] >= 0.87
    assert found["all"]["width_to_redraws_mean"] <= 1.5


def test_the_committed_result_is_of_the_whole_run_and_holds_the_bars() -> None:
    found = json.loads(Path("benchmarks/results/forecast.json").read_text("utf-8"))["result"]
    assert found["batches"] == 2_000
    assert found["all"]["coverage_wilson_99_low"] >= 0.87
    assert found["all"]["width_to_redraws_mean"] <= 1.5
    assert not {one.__name__ for one in TUNED} & found.keys()


def test_too_few_known_calls_say_nothing() -> None:
    known = [(100, 50)] * (LEAST_KNOWN - 1)
    assert output_tokens([known], [100], 1e9) is None
    assert output_tokens([known, [(100, 50)]], [100], 1e9) is not None
    assert output_tokens([known, [(100, 50)]], [], 1e9) is None


def test_answers_that_never_differ_make_an_interval_of_no_width() -> None:
    found = output_tokens([[(100, 50)] * 20], [100] * 10, 1e9)
    assert found is not None
    assert (found.low, found.expected, found.high) == (500, 500, 500)


def test_the_more_is_known_the_narrower_and_never_more_than_the_limit() -> None:
    pairs = [(100 + n % 7, 40 + (n * 37) % 60) for n in range(400)]
    few, many = (output_tokens([pairs[:count]], [103] * 100, 1e9) for count in (20, 400))
    assert few is not None and many is not None
    assert many.high - many.low < few.high - few.low
    bounded = output_tokens([pairs[:20]], [103] * 100, 100 * 64)
    assert bounded is not None and bounded.high <= 6_400


def test_batches_that_differ_from_each_other_widen_the_interval() -> None:
    alike = [[(100, 50 + n % 5) for n in range(50)] for _ in range(4)]
    unlike = [[(100, 50 + 20 * which + n % 5) for n in range(50)] for which in range(4)]
    wide, narrow = (output_tokens(one, [100] * 50, 1e9) for one in (unlike, alike))
    assert wide is not None and narrow is not None
    assert (wide.high - wide.low) / wide.expected > 3 * (narrow.high - narrow.low) / narrow.expected
