"""Ids: unique across threads and forks, in the order of their making, by millisecond."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor

from freehold.ids import new_id, time_digits


def test_ids_of_many_threads_never_meet() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(new_id, ["sevt"] * 20_000))
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"sevt_[0-9A-Za-z]{24}", one) for one in made)


def test_a_fork_draws_its_own_randomness() -> None:
    new_id("x")  # some is drawn ahead
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, "\n".join(new_id("x") for _ in range(100)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = {one[-16:] for one in os.read(reading, 100_000).decode().split("\n")}
    mine = {new_id("x")[-16:] for _ in range(400)}
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 100 and not theirs & mine


def test_ids_sort_by_the_time_of_their_making() -> None:
    moments = [1, 2, 61, 62, 3843, 3844, 1_800_000_000_000, 1_800_000_000_001]
    assert sorted(map(time_digits, moments)) == list(map(time_digits, moments))
    assert {len(time_digits(moment)) for moment in moments} == {8}
