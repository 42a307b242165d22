"""Memory stays flat: a seeded slice of the long run, and the whole of it under `soak`."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.simulator_soak import run
from freehold.simulator.account import Account, Line
from freehold.simulator.model.cache import PrefixCache
from freehold.simulator.model.ids import Ids


def test_a_slice_of_the_long_run_does_not_grow() -> None:
    found = asyncio.run(run(12_000, seed=11, warm=0.5))
    assert found.statuses[200] > 10_000 and {0, 404, 529} <= set(found.statuses)
    # 6,000 requests after the warm-up; histories that are not yet full may take 4 KB for each of them.
    assert found.grown_bytes < 6_000 * 4_096


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_million_requests_do_not_grow_it(request: pytest.FixtureRequest) -> None:
    if "soak" not in str(request.config.getoption("markexpr")):
        pytest.skip("`make soak` runs it")
    found = asyncio.run(run(1_000_000, seed=1))
    assert found.grown_bytes <= found.warm_bytes // 10


def test_the_bill_keeps_so_many_lines_and_keys_and_loses_no_money() -> None:
    account = Account(most_lines=10)
    for number in range(30_000):
        account.add(Line(f"req_{number}", f"key_{number}", "w", number, nanodollars=1))
    assert len(account.lines()) == 10
    shown = account.show()
    assert len(shown["keys"]) <= 10_001
    assert account.total.nanodollars == sum(total["nanodollars"] for total in shown["keys"].values()) == 30_000


def test_ids_stay_unique_when_old_requests_are_forgotten() -> None:
    ids = Ids(seed=1)
    first = [ids.source("w", b"again").new("msg") for _ in range(3)]
    for number in range(70_000):
        ids.source("w", b"%d" % number)
    later = [ids.source("w", b"again").new("msg") for _ in range(3)]
    assert len({*first, *later}) == 6


def test_the_prefix_cache_forgets_the_entry_used_longest_ago() -> None:
    from freehold.simulator.model.cache import Plan

    cache = PrefixCache(most_entries=100)
    for number in range(1_000):
        cache.commit(Plan(0, 1, 0, 0, ((("w", b"%d" % number), 300_000_000),)), number, number)
    assert len(cache) == 100
