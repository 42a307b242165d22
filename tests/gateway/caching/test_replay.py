"""Caching that pays, by replay: our breakpoints against none, the usual ones, and a clairvoyant bound."""

from __future__ import annotations

import json

import pytest

from benchmarks.caching.replay import RESULTS, bound, table, totals
from benchmarks.caching.traffic import Sent, request, user
from freehold.simulator.model import prices

_OTHERS = ("clients_marks", "automatic", "two_fixed_points")


def _check(rows: dict[str, dict[str, int]], within: float) -> None:
    for family, row in rows.items():
        assert row["bound"] <= row["ours"] <= 1.01 * row["no_cache"], family
    total = totals(rows)
    assert total["ours"] <= within * total["bound"]
    assert total["ours"] < min(total[name] for name in _OTHERS)


def test_a_slice_of_every_family_costs_little_more_than_the_bound_and_never_more_than_no_cache() -> None:
    _check(
        table(130, seed=7), within=1.07
    )  # the first requests of a route teach; the whole run has three times as many


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_over_all_families_ours_is_within_five_percent_of_the_bound(request: pytest.FixtureRequest) -> None:
    if "soak" not in str(request.config.getoption("markexpr")):
        pytest.skip("`make soak` runs it")
    for seed in (1, 2, 3, 4, 5):
        _check(table(400, seed), within=1.05)


def test_the_committed_table_holds_what_is_said_of_it() -> None:
    for rows in json.loads(RESULTS.read_text())["runs"].values():
        _check({name: row for name, row in rows.items() if name != "all"}, within=1.05)


def test_the_bound_is_right_where_it_can_be_counted_by_hand() -> None:
    text = "ledger " * 1000
    once = bound([Sent(0, request([user(text)]))])
    rates = prices.TABLE["claude-sonnet-5-5"]
    tokens = once // rates.input
    assert once == tokens * rates.input, "what is asked for once is neither written nor read"
    twice = bound([Sent(0, request([user(text)])), Sent(10, request([user(text)]))])
    assert twice == tokens * (rates.write_5m + rates.read)
    late = bound([Sent(at, request([user(text)])) for at in (0, 400, 800)])
    assert late == tokens * (rates.write_1h + 2 * rates.read)
    never = bound([Sent(0, request([user(text)])), Sent(4000, request([user(text)]))])
    assert never == 2 * tokens * rates.input
