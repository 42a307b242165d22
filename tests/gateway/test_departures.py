"""The client cut at every event of a stream: what the record says then, against the simulator's own account."""

from __future__ import annotations

import pytest

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
