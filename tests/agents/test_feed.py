"""Streams of a session: in the order of the log, nothing twice, whether it was told, read, or read late."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from freehold.agents.feed import Feed
from freehold.errors import NotFound
from tests.agents.conftest import MakesHouse
from tests.agents.house import WORKSPACE, House, Script, text

ID = re.compile(rb'"id":"(sevt_\w+)"')


async def read(frames: AsyncIterator[bytes], count: int) -> list[str]:
    """The ids of that many events."""
    seen: list[str] = []
    async with asyncio.timeout(60):
        while len(seen) < count:
            seen += [found.decode() for found in ID.findall(await anext(frames))]
    return seen


async def logged(house: House, session: str) -> list[str]:
    return [event["id"] for event in await house.log(session)]


async def test_a_stream_that_nobody_tells_reads_the_table(make_house: MakesHouse) -> None:
    house = await make_house(Script([text("hi")]))
    session = await house.session()
    feed = Feed(house.store, house.previews, clock=house.clock)
    frames = await feed.open(WORKSPACE, session)
    reading = asyncio.create_task(read(frames, 9))
    await house.say(session)
    await house.idle(session)
    assert await reading == await logged(house, session)
    feed.close()


async def test_many_readers_of_one_session_share_one_reading(make_house: MakesHouse) -> None:
    house = await make_house(Script([text("hi")]))
    session = await house.session()
    feed = Feed(house.store, house.previews, clock=house.clock)
    readers = [asyncio.create_task(read(await feed.open(WORKSPACE, session), 9)) for _ in range(100)]
    before = house.store.looks
    await house.say(session)
    found = await asyncio.gather(*readers)
    assert house.store.looks - before < 40  # each reader by itself would have looked at least once
    assert found == [await logged(house, session)] * 100
    feed.close()


async def test_a_slow_reader_gets_everything_from_the_table(make_house: MakesHouse) -> None:
    house = await make_house(Script([text("hi")]))
    session = await house.session()
    feed = Feed(house.store, house.previews, clock=house.clock, kept=4)
    slow, quick = await feed.open(WORKSPACE, session), await feed.open(WORKSPACE, session)
    first = asyncio.create_task(read(slow, 1))
    reading = asyncio.create_task(read(quick, 27))
    for turn in range(1, 4):
        await house.say(session)
        await house.idle(session, turn)
    whole = await logged(house, session)
    assert await reading == whole
    begun = await first
    assert begun + await read(slow, 27 - len(begun)) == whole
    feed.close()


async def test_streams_end_when_the_server_stops_and_say_nothing_of_a_deletion(make_house: MakesHouse) -> None:
    house = await make_house(Script([text("hi")]))
    session = await house.session()
    feed = Feed(house.store, house.previews, clock=house.clock)
    frames = await feed.open(WORKSPACE, session)
    reading = asyncio.create_task(anext(frames, b"the end"))
    await asyncio.sleep(0)
    feed.close()
    async with asyncio.timeout(60):
        assert await reading == b"the end"


async def test_a_silent_stream_says_that_it_is_alive(make_house: MakesHouse) -> None:
    house = await make_house(Script([text("hi")]))
    session = await house.session()
    feed = Feed(house.store, house.previews, clock=house.clock, ping_s=0.01)
    frames = await feed.open(WORKSPACE, session)
    async with asyncio.timeout(60):
        assert await anext(frames) == b'event: ping\ndata: {"type":"ping"}\n\n'
    feed.close()


async def test_a_stream_of_nothing_is_not_opened(make_house: MakesHouse) -> None:
    house = await make_house(Script([text("hi")]))
    session = await house.session()
    feed = Feed(house.store, house.previews, clock=house.clock)
    with pytest.raises(NotFound):
        await feed.open(WORKSPACE, "sesn_none")
    with pytest.raises(NotFound):
        await feed.open("wrkspc_other", session)
