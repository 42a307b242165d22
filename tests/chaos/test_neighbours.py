"""Several servers on one database: a frozen one that wakes up too late, and a crowd of which one dies every second."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest
from anthropic import APIConnectionError, APIError

from freehold.launch import NotStarted, ServerProcess
from tests.chaos.theatre import AGENT_TOOLS, HELLO, Theatre, open_theatre


@pytest.mark.soak
@pytest.mark.timeout(240)
@pytest.mark.parametrize("point", ["after_started", "in_tool", "before_result", "before_idle"])
async def test_a_zombie_writes_nothing(point: str, database_url: str, tmp_path: Path) -> None:
    async with open_theatre(tmp_path, database_url) as theatre:
        await theatre.start(f"{point}:1:stop")
        zombie = theatre.server
        session = await theatre.session()
        await theatre.client().beta.sessions.events.send(session, events=[HELLO])
        second = theatre.make_server()
        await asyncio.to_thread(second.start)
        theatre.server = second
        try:
            events = await theatre.play(session, 90.0)  # the lease has to run out first
            assert events is not None, second.output
            os.kill(zombie.pid, signal.SIGCONT)
            await asyncio.to_thread(zombie.stop)
            assert await theatre.broken_rules(session) == []
            again = await theatre.play(session)
            assert again is not None and [event.id for event in again] == [event.id for event in events]
        finally:
            os.kill(zombie.pid, signal.SIGCONT) if _runs(zombie) else None
            await asyncio.to_thread(zombie.kill)


def _runs(server: ServerProcess) -> bool:
    try:
        return bool(server.pid)
    except NotStarted:
        return False


class Crowd:
    """Three servers on one theatre; one of them is killed every second and started again."""

    def __init__(self, theatre: Theatre, seed: int) -> None:
        self.theatre = theatre
        self.random = random.Random(seed)
        self.servers: list[ServerProcess] = []
        self.kills = 0

    async def open(self, count: int) -> None:
        for _ in range(count):
            server = self.theatre.make_server()
            await asyncio.to_thread(server.start)
            self.servers.append(server)
        self.theatre.server = self.servers[0]

    async def rage(self, until: asyncio.Event) -> None:
        while not until.is_set():
            await asyncio.sleep(1.0)
            victim = self.random.choice(self.servers[1:])  # the first one answers the test's own questions
            await asyncio.to_thread(victim.kill)
            await asyncio.to_thread(victim.start)
            self.kills += 1

    async def close(self) -> None:
        for server in self.servers:
            await asyncio.to_thread(server.kill)


async def _swarm(theatre: Theatre, crowd: Crowd, sessions: int) -> list[str]:
    tools = [tool for tool in AGENT_TOOLS if tool["type"] == "mcp_toolset"]
    made = await theatre.sessions(sessions, tools)
    calm = asyncio.Event()
    raging = asyncio.create_task(crowd.rage(calm))

    async def start(session: str) -> None:
        client = theatre.client(crowd.random.choice(crowd.servers))
        try:
            await client.beta.sessions.events.send(session, events=[HELLO])
        except (APIConnectionError, APIError):
            listed = [event async for event in theatre.client().beta.sessions.events.list(session)]
            if not listed:  # it was not taken
                await theatre.client().beta.sessions.events.send(session, events=[HELLO])

    for session in made:
        await start(session)
        await asyncio.sleep(0.02)
    for session in made:
        assert await theatre.play(session, 120.0) is not None
    calm.set()
    await raging
    return [problem for session in made for problem in await theatre.broken_rules(session)]


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a_swarm_with_random_kills_breaks_no_rule(database_url: str, tmp_path: Path) -> None:
    async with open_theatre(tmp_path, database_url) as theatre:
        crowd = Crowd(theatre, seed=1)
        try:
            await crowd.open(3)
            assert await _swarm(theatre, crowd, 120) == []
            assert crowd.kills >= 3
        finally:
            await crowd.close()
