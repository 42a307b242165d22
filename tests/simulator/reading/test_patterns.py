"""A client's patterns: those that help are asked, those that might run away are not."""

from __future__ import annotations

import time

import pytest

from freehold.simulator.reading.patterns import asked


@pytest.mark.parametrize(
    ("pattern", "fitting", "other"),
    [
        (r"^[A-Z]{2,3}-\d+$", "AB-12", "ab-12"),
        (r"^\d{4}-\d{2}-\d{2}$", "2026-11-29", "yesterday"),
        (r"^u_[a-z0-9]+$", "u_7", "u-7"),
        (r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}$", "0123abcd-01ab-23cd", "0123abcd"),
        (r"colou?r", "colour", "paint"),
        (r"^[^@]+@[^@]+\.com$", "ann@example.com", "ann"),
    ],
)
def test_a_usual_pattern_is_asked(pattern: str, fitting: str, other: str) -> None:
    fits = asked(pattern)
    assert fits is not None and fits(fitting) and not fits(other)


@pytest.mark.parametrize("pattern", ["(a|a)*$", "(a+)+b", "a*a*a*a*a*a*b", "^(?:a{1,99}){1,99}b", "(", "a" * 201])
def test_a_pattern_that_might_run_away_or_is_none_is_not(pattern: str) -> None:
    assert asked(pattern) is None


@pytest.mark.parametrize("pattern", ["a*a*b", "^a*a*a*b", ".*.*b", "[)]*[*+{]*b"])
def test_what_is_asked_costs_little_for_any_text(pattern: str) -> None:
    fits, begun = asked(pattern), time.process_time()
    assert fits is not None and not fits("a" * 100_000)
    assert time.process_time() - begun < 5
