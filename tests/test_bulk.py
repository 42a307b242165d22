"""Many calls from a program: each answered once, in order or as they come; closed early, nothing is left running."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from freehold.bulk import answers
from freehold.testing import Running, server_in_thread


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with server_in_thread() as found:
        yield found


def asked(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        said = [{"role": "user", "content": f"Say {number}"}]
        yield {"model": "claude-haiku-4-5", "max_tokens": 0 if number == 7 else 64, "messages": said}


@pytest.mark.parametrize("in_order", [True, False])
def test_each_call_has_one_answer_at_its_place(running: Running, in_order: bool) -> None:
    found = list(answers(running.sync_client, asked(25), size=10, poll_s=0.05, in_order=in_order))
    assert sorted(one.index for one in found) == list(range(25))
    if in_order:
        assert [one.index for one in found] == list(range(25))
    assert [one.index for one in found if one.error] == [7]
    assert all(one.text for one in found if one.index != 7)
    assert "max_tokens" in str(next(one.error for one in found if one.index == 7))


def test_what_goes_in_is_taken_a_batch_at_a_time(running: Running) -> None:
    taken = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal taken
        for one in asked(1_000_000):
            taken += 1
            yield one

    found = answers(running.sync_client, endless(), size=5, open_at_once=2, poll_s=0.05)
    assert [next(found).index for _ in range(3)] == [0, 1, 2]
    assert taken <= 10
    found.close()
    statuses = {one.processing_status for one in running.sync_client.messages.batches.list(limit=2).data}
    assert statuses <= {"ended", "canceling"}


def test_nothing_in_gives_nothing_out(running: Running) -> None:
    assert list(answers(running.sync_client, [])) == []
