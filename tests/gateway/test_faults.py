"""Every fault of the simulator, streamed and not: what the client gets, what the record says, what is billed.

The outcome of each is stated in a table: `PASSING` for a fault that hits one attempt, `LASTING` for one that hits every
attempt, `LATE` for one that comes after content, when nothing can be tried again.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from freehold.simulator.faults import KINDS
from freehold.wire.facts import Facts
from freehold.wire.frames import Frames
from freehold.wire.tap import Tap, of_whole
from tests.gateway.house import until
from tests.gateway.over_simulator import STALL_S, Place, over_simulator, patience_s

BOTH = [False, True]
SETTINGS: dict[str, dict[str, Any]] = {
    "stall": {"seconds": 30},
    "slow": {"seconds": 0.01, "per_second": 1000},
}
PASSING_ATTEMPTS = {"slow": 1, "malformed": 1, "truncated": 1, "wrong_content_type": 1}
"""What is not here is tried a second time, unseen by the client."""
BROKEN_JSON = {"malformed", "truncated"}
"""A whole answer with a 200 whose JSON is cut: handed on as it came, since it was billed."""


def facts_of(stream: bool, answered: bytes) -> Facts:
    """What a client can make of it."""
    if not stream:
        return of_whole(200, answered)
    tap = Tap()
    tap.read(Frames().cut(answered))
    return tap.facts


@pytest.mark.parametrize("stream", BOTH, ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_fault_that_passes_is_not_seen_where_that_is_safe(kind: str, stream: bool) -> None:
    """Complaint #14, #18."""
    async with over_simulator(silence_s=patience_s(kind)) as place:
        place.fault(kind, times=1, **SETTINGS.get(kind, {}))
        status, _, answered = await place.ask(stream=stream)
        row = await place.row()
        retried = kind == "truncated" and stream
        assert (status, row.status) == (200, 200)
        assert row.attempts == (2 if retried else PASSING_ATTEMPTS.get(kind, 2))
        if kind in BROKEN_JSON and not retried:
            assert row.error_type == ("incomplete_stream" if stream else "incomplete_answer")
            assert (row.usage_known, row.cost_nanodollars is None) == (("partial", False) if stream else ("none", True))
        else:
            assert facts_of(stream, answered).complete
            _exact(row, place)


LASTING = {
    "rate_limit": (429, "rate_limit_error"),
    "api_error": (500, "api_error"),
    "bad_gateway": (502, "api_error"),
    "unavailable": (503, "api_error"),
    "timeout": (504, "timeout_error"),
    "overloaded": (529, "overloaded_error"),
    "reset": (502, "api_error"),
}


@pytest.mark.parametrize("stream", BOTH, ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", LASTING)
async def test_a_fault_that_lasts_reaches_the_client_as_the_error_that_it_is(kind: str, stream: bool) -> None:
    """Complaint #14: no error becomes another one on its way."""
    async with over_simulator() as place:
        place.fault(kind, retry_after_s=0.01)
        status, headers, answered = await place.ask(stream=stream)
        assert (status, json.loads(answered)["error"]["type"]) == LASTING[kind]
        assert headers["request-id"].startswith("req_")
        assert ("retry-after" in headers) is (kind != "reset")
        row = await place.row()
        assert (row.status, row.error_type, row.attempts, row.usage_known) == (*LASTING[kind], 2, "none")
        assert sum(line.nanodollars for line in place.lines()) == 0


async def test_a_lasting_overload_inside_a_stream_leaves_as_it_came() -> None:
    async with over_simulator() as place:
        place.fault("overloaded_in_stream")
        status, _, answered = await place.ask(stream=True)
        assert (status, facts_of(True, answered).error_type) == (200, "overloaded_error")
        row = await place.row()
        assert (row.status, row.error_type, row.attempts, row.usage_known) == (200, "overloaded_error", 2, "partial")


@pytest.mark.parametrize("stream", BOTH, ids=["whole", "streamed"])
async def test_an_upstream_that_stays_silent_is_given_up(stream: bool) -> None:
    """Complaint #21, #22: by silence, not by the length of an answer."""
    async with over_simulator(silence_s=patience_s("stall")) as place:
        place.fault("stall", **SETTINGS["stall"])
        status, _, answered = await place.ask(stream=stream)
        assert status == (200 if stream else 504)
        told = facts_of(True, answered).error_type if stream else json.loads(answered)["error"]["type"]
        assert told == "timeout_error"
        row = await place.row()
        assert (row.status, row.error_type, row.attempts) == (504, "timeout_error", 2)


LATE = {
    "overloaded_in_stream": (200, "overloaded_error", True),
    "reset": (502, "api_error", True),
    "stall": (504, "timeout_error", True),
    "malformed": (200, "incomplete_stream", False),
    "truncated": (200, "incomplete_stream", False),
}
"""Status and error type of the record, and whether the client is told by an `error` event."""


@pytest.mark.parametrize("kind", LATE)
async def test_a_fault_after_content_is_never_tried_again_and_is_told(kind: str) -> None:
    async with over_simulator(silence_s=patience_s(kind)) as place:
        place.fault(kind, after=3, **SETTINGS.get(kind, {}))
        _, _, answered = await place.ask(stream=True)
        *recorded, told = LATE[kind]
        row = await place.row()
        assert [row.status, row.error_type] == recorded
        assert row.attempts == 1
        assert b"content_block_delta" in answered
        assert (facts_of(True, answered).error_type is not None) is told
        await _bounded(row, place)


async def test_a_slow_answer_is_no_fault() -> None:
    """Complaint #13, #22: nothing is cut that still comes, however long it takes."""
    async with over_simulator(silence_s=STALL_S) as place:
        place.fault("slow", seconds=0.1, per_second=80)  # longer in all than the silence that is allowed
        _, _, answered = await place.ask(stream=True, text="word " * 40)
        assert facts_of(True, answered).complete
        _exact(await place.row(), place)


def test_every_fault_has_its_outcome() -> None:
    stated = {*LASTING, *LATE, *PASSING_ATTEMPTS}
    assert stated == set(KINDS)


def _exact(row: Any, place: Place) -> None:
    """The record agrees with the simulator's own account, to the token and the nanodollar."""
    line = place.lines()[-1]
    assert (row.usage_known, row.error_type) == ("exact", None)
    assert (row.input_tokens, row.output_tokens) == (line.input_tokens, line.output_tokens)
    assert row.cost_nanodollars == line.nanodollars > 0


async def _bounded(row: Any, place: Place) -> None:
    """The input is known; the output lies between what was seen and what was allowed."""
    await until(place.lines)
    line = place.lines()[-1]
    assert row.usage_known == "partial"
    assert row.input_tokens == line.input_tokens
    assert row.output_tokens <= line.output_tokens <= 64
    assert 0 < row.cost_nanodollars <= line.nanodollars
