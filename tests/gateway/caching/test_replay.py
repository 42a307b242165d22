"""Caching that pays, by replay: our breakpoints against none, the usual ones, and a clairvoyant bound."""

from __future__ import annotations

import json

import pytest

from benchmarks.caching.record import USES
from benchmarks.caching.replay import RESULTS, generated, recorded, totals
from benchmarks.caching.traffic import request, sent_at, user
from freehold.gateway.caching.replay import WAYS as FIXED_WAYS
from freehold.gateway.caching.replay import Sent, bound, fixed, read, readable
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
        generated(130, seed=7), within=1.07
    )  # the first requests of a route teach; the whole run has three times as many


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_over_all_families_ours_is_within_five_percent_of_the_bound(request: pytest.FixtureRequest) -> None:
    if "soak" not in str(request.config.getoption("markexpr")):
        pytest.skip("`make soak` runs it")
    for seed in (1, 2, 3, 4, 5):
        _check(generated(400, seed) | recorded(), within=1.05)


def test_recorded_sessions_and_calls_cost_less_than_with_the_usual_breakpoints() -> None:
    rows = recorded()
    assert {f"recorded_{use}" for use in USES} == set(rows)
    _check(rows, within=1.1)


def test_the_committed_table_holds_what_is_said_of_it() -> None:
    for rows in json.loads(RESULTS.read_text())["runs"].values():
        assert {f"recorded_{use}" for use in USES} < set(rows)
        _check({name: row for name, row in rows.items() if name != "all"}, within=1.05)


def test_the_bound_is_right_where_it_can_be_counted_by_hand() -> None:
    text = "ledger " * 1000

    def bound_of(*times_s: float) -> int:
        return bound([read(sent_at(at_s, request([user(text)]))) for at_s in times_s])

    once = bound_of(0)
    rates = prices.TABLE["claude-sonnet-5-5"]
    tokens = once // rates.input
    assert once == tokens * rates.input, "what is asked for once is neither written nor read"
    twice = bound_of(0, 10)
    assert twice == tokens * (rates.write_5m + rates.read)
    late = bound_of(0, 400, 800)
    assert late == tokens * (rates.write_1h + 2 * rates.read)
    never = bound_of(0, 4000)
    assert never == 2 * tokens * rates.input


def test_what_a_request_wrote_is_read_once_its_answer_has_begun() -> None:
    asked = request([user("Hello")], system="ledger " * 1000)

    def cost(begun_after_us: int) -> int:
        traffic = [read(Sent(at_us, asked, begun_after_us)) for at_us in (0, 2_000_000)]
        return fixed(traffic, FIXED_WAYS["clients_marks"])

    assert cost(1_000_000) < cost(3_000_000)


def test_what_the_simulator_does_not_know_is_left_out_with_the_reason() -> None:
    known = request([user("Hello")])
    found, refused = readable([sent_at(5, known), sent_at(0, {**known, "model": "gpt-9"}), sent_at(1, known)])
    assert [one.sent.at_us for one in found] == sorted(one.sent.at_us for one in found)
    assert (len(found), len(refused)) == (2, 1)
    assert "gpt-9" in refused[0]
