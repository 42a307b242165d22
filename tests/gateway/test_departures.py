"""The client cut at every event of a stream: what the record says then, against the simulator's own account."""

from __future__ import annotations

import pytest

from freehold.gateway.middleware.departures import Departures, DepartureSettings
from freehold.simulator.pace import Pace, Spread
from freehold.wire.facts import Usage
from freehold.wire.frames import Frames
from tests.gateway.house import RawClient, until
from tests.gateway.over_simulator import MODEL, body, over_simulator

PACED = Pace(Spread(0.002), Spread(400))
TEXT = "One two three."
EVENTS = 10
"""More than the answer to `TEXT` has: the last cuts come after its end."""


@pytest.mark.parametrize("cut", range(EVENTS))
async def test_a_client_that_leaves_at_any_event_leaves_an_account_that_holds(cut: int) -> None:
    """Complaint #24, and usage that is lost when the client leaves."""
    async with over_simulator(pace=PACED) as place:
        async with RawClient.connected(place.url) as raw:
            await raw.post(body(stream=True, text=TEXT))
            await raw.head()
            await _read_events(raw, cut)
            raw.leave()
        row = await place.row()
        await until(place.lines)
        (line,) = place.lines()
        assert row.attempts == 1
        if row.usage_known == "exact":
            assert (row.input_tokens, row.output_tokens) == (line.input_tokens, line.output_tokens)
            assert row.cost_nanodollars == line.nanodollars
        elif row.usage_known == "partial":
            assert (row.status, row.error_type) == (499, "client_left")
            assert row.input_tokens == line.input_tokens
            most = place.rates.cost(MODEL, Usage(line.input_tokens, 64), line.at_us)
            assert row.cost_nanodollars is not None and most is not None
            assert row.cost_nanodollars <= line.nanodollars <= most
        else:
            assert line.output_tokens <= 64
        await until(lambda: place.clients[0].open_connections == place.clients[0].idle_connections)


@pytest.mark.parametrize("cut", range(0, EVENTS, 2))
async def test_a_drained_call_has_an_exact_account_whenever_its_client_leaves(cut: int) -> None:
    departures = Departures(DepartureSettings("drain"))
    async with over_simulator(pace=PACED, departures=departures) as place:
        async with RawClient.connected(place.url) as raw:
            await raw.post(body(stream=True, text=TEXT))
            if cut:
                await raw.head()
                await _read_events(raw, cut)
            else:
                await until(lambda: place.clients[0].open_connections)
            raw.leave()
        row = await place.row()
        await until(place.lines)
        (line,) = place.lines()
        assert row.usage_known == "exact"
        assert (row.output_tokens, row.cost_nanodollars) == (line.output_tokens, line.nanodollars)
        await until(lambda: departures.open == 0)
        await until(lambda: place.clients[0].open_connections == place.clients[0].idle_connections)


async def test_a_drained_answer_is_byte_for_byte_and_an_error_is_told() -> None:
    departures = Departures(DepartureSettings("drain"))
    async with over_simulator(departures=departures) as place, over_simulator() as plain:
        for stream in (False, True):
            drained, usual = await place.ask(stream=stream, text=TEXT), await plain.ask(stream=stream, text=TEXT)
            assert (drained[0], len(drained[2])) == (usual[0], len(usual[2]))
        place.fault("overloaded")
        assert (await place.ask(stream=True))[0] == 529
        place.simulators[0].simulator.faults.clear()
        place.fault("reset", after=3)
        _, _, answered = await place.ask(stream=True)
        assert b"event: error" in answered


async def test_a_drain_has_an_end() -> None:
    departures = Departures(DepartureSettings("drain", 0.05))
    slow = Pace(Spread(0.002), Spread(60))
    async with over_simulator(pace=slow, departures=departures) as place:
        async with RawClient.connected(place.url) as raw:
            await raw.post(body(stream=True, text="word " * 200))
            await raw.head()
            raw.leave()
        row = await place.row()
        assert (row.status, row.error_type, row.usage_known) == (499, "client_left", "partial")


async def test_a_client_that_waits_for_the_end_has_an_exact_account() -> None:
    async with over_simulator(pace=PACED) as place:
        await place.ask(stream=True, text=TEXT)
        row, (line,) = await place.row(), place.lines()
        assert row.usage_known == "exact"
        assert (row.output_tokens, row.cost_nanodollars) == (line.output_tokens, line.nanodollars)


async def _read_events(raw: RawClient, count: int) -> None:
    frames, seen = Frames(), 0
    if count == 0:
        return
    async for chunk in raw.chunks():
        seen += len(frames.feed(chunk)[1])
        if seen >= count:
            return
