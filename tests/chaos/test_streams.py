"""Readers that reconnect across kills, as the official SDK's runner does it: every event once, by its id."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anthropic import APIError

from freehold.launch import ServerProcess
from tests.chaos.theatre import HELLO, Theatre, open_theatre
from tests.databases import slice_on


class Follower:
    """Opens the stream, then lists, and drops what it has seen; again whenever the stream breaks."""

    def __init__(self, theatre: Theatre, session: str, servers: Sequence[ServerProcess] = ()) -> None:
        """`servers`: gone to in turn; left out, the theatre's own."""
        self._servers = itertools.cycle(servers or [None])
        self._theatre = theatre
        self._session = session
        self.seen: list[str] = []
        self.ended = asyncio.Event()

    async def run(self) -> None:
        while not self.ended.is_set():
            try:
                await self._follow()
            except (APIError, OSError):
                await asyncio.sleep(0.05)  # the server is away; a client can only try again
            except Exception as error:  # the SDK lets its transport's errors out while a stream is read
                if "httpx" not in type(error).__module__:
                    raise

    async def _follow(self) -> None:
        client = self._theatre.client(next(self._servers))
        async with await client.beta.sessions.events.stream(self._session) as stream:
            event: Any
            async for event in client.beta.sessions.events.list(self._session):
                self._take(event)
            async for event in stream:
                self._take(event)
                if self.ended.is_set():
                    return

    def _take(self, event: Any) -> None:
        if event.id not in self.seen:
            self.seen.append(event.id)
        if event.type == "session.status_idle" and event.stop_reason.type == "end_turn":
            self.ended.set()


@slice_on("sqlite")
async def test_a_reader_that_reconnects_sees_every_event_once(database_url: str, tmp_path: Path) -> None:
    async with open_theatre(tmp_path, database_url) as theatre:
        await theatre.start("before_result:2")
        session = await theatre.session()
        followers = [Follower(theatre, session) for _ in range(3)]
        tasks = [asyncio.create_task(follower.run()) for follower in followers]
        await theatre.client().beta.sessions.events.send(session, events=[HELLO])
        assert await theatre.play(session) is None, "the server was to die at that point"
        await theatre.kill()
        await theatre.start()
        events = await theatre.play(session)
        assert events is not None
        async with asyncio.timeout(120):
            await asyncio.gather(*tasks)
        logged = [event.id for event in events]
        for follower in followers:
            assert sorted(follower.seen) == sorted(logged)
        assert await theatre.broken_rules(session) == []


@slice_on("postgresql")
async def test_a_reader_that_goes_to_another_server_sees_every_event_once(database_url: str, tmp_path: Path) -> None:
    async with open_theatre(tmp_path, database_url) as theatre:
        await theatre.start("before_result:2")
        first, second = theatre.server, theatre.make_server()
        await asyncio.to_thread(second.start)
        try:
            session = await theatre.session()
            followers = [Follower(theatre, session, order) for order in ([first, second], [second], [first, second])]
            tasks = [asyncio.create_task(follower.run()) for follower in followers]
            await theatre.client().beta.sessions.events.send(session, events=[HELLO])
            for _ in range(2):  # whichever of the two works on it dies, or none
                if (events := await theatre.play(session, server=second)) is not None:
                    break
            assert events is not None, second.output
            async with asyncio.timeout(120):
                await asyncio.gather(*tasks)
            for follower in followers:
                assert sorted(follower.seen) == sorted(event.id for event in events)
            assert await theatre.broken_rules(session) == []
        finally:
            await asyncio.to_thread(second.kill)
