"""The buffer of rows that nobody waits for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.store.rows import Rows
from freehold.store.tables import calls, executors


def test_rows_come_out_in_the_order_they_went_in_and_no_more_than_asked() -> None:
    rows = Rows()
    for n in range(10):
        rows.add(calls, (n,))
    assert rows.take(4) == {calls: [(0,), (1,), (2,), (3,)]}
    assert rows.take(100) == {calls: [(n,) for n in range(4, 10)]}
    assert rows.take(1) == {}


def test_rows_that_were_put_back_come_out_first() -> None:
    rows = Rows()
    rows.add(calls, (1,))
    taken = rows.take(5)
    rows.add(calls, (2,))
    rows.put_back(taken)
    assert rows.take(5) == {calls: [(1,), (2,)]}


def test_what_does_not_fit_is_dropped_counted_and_said_seldom(caplog: pytest.LogCaptureFixture) -> None:
    rows = Rows(kept=3)
    for n in range(1_003):
        rows.add(calls, (n,))
    assert (rows.waiting, rows.dropped) == (3, 1_000)
    assert rows.take(5) == {calls: [(0,), (1,), (2,)]}
    assert len(caplog.records) == 10


def test_what_is_lost_when_the_server_stops_is_said(caplog: pytest.LogCaptureFixture) -> None:
    rows = Rows()
    rows.give_up()
    assert not caplog.records
    rows.add(calls, (1,))
    rows.give_up()
    assert "1 rows of the record are lost" in caplog.text


@given(st.lists(st.sampled_from(["calls", "executors", "take", "settle", "put back"]), max_size=100))
def test_the_counts_add_up_whatever_happens(steps: list[str]) -> None:
    rows, taken = Rows(), []
    for number, step in enumerate(steps):
        if step in ("calls", "executors"):
            rows.add(calls if step == "calls" else executors, (number,))
        elif step == "take":
            taken.append(rows.take(3))
        elif taken and step == "settle":
            rows.settle(taken.pop())
        elif taken:
            rows.put_back(taken.pop())
        on_the_way = sum(len(some) for group in taken for some in group.values())
        assert rows.added == rows.settled + rows.waiting + on_the_way
