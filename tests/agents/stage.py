"""Sessions on a whole server with real boxes, whose model is a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anthropic import AsyncAnthropic

from freehold import testing
from tests.agents.house import Script

TOOLS: list[Any] = [{"type": "agent_toolset_20260401"}]


class Play:
    """One session on a whole server whose model is a script."""

    def __init__(self, running: testing.Running, session: str) -> None:
        self.running = running
        self.client: AsyncAnthropic = running.client
        self.session = session

    async def say(self, *more: Any) -> None:
        hello: Any = {"type": "user.message", "content": [{"type": "text", "text": "go on"}]}
        await self.client.beta.sessions.events.send(self.session, events=[*more, hello])

    async def events(self) -> list[Any]:
        return [event async for event in self.client.beta.sessions.events.list(self.session)]

    async def turn(self, times: int) -> list[str]:
        """Say something and wait; the texts of all results so far."""
        await self.say()
        events = await self.idle(times)
        results = [event for event in events if event.type == "agent.tool_result"]
        return ["\n".join(block.text for block in result.content) for result in results]

    async def idle(self, times: int) -> list[Any]:
        """All events, once the session has gone idle so many times."""
        async with asyncio.timeout(120):
            while True:
                seen = self.running.application.store.wakes.version(self.session)
                events = await self.events()
                if sum(event.type == "session.status_idle" for event in events) >= times:
                    return events
                await self.running.application.store.wakes.changed(self.session, seen, 1.0)


async def another(running: testing.Running, config: Any = None, *, skills: Any = (), **session: Any) -> Play:
    """A session of an agent of its own in an environment of its own."""
    client = running.client
    agent = await client.beta.agents.create(name="worker", model="claude-haiku-4-5", tools=TOOLS, skills=list(skills))
    cloud: Any = {"type": "cloud", **(config or {})}
    environment = await client.beta.environments.create(name="here", config=cloud)
    made = await client.beta.sessions.create(agent=agent.id, environment_id=environment.id, **session)
    return Play(running, made.id)


@asynccontextmanager
async def play(script: Script) -> AsyncIterator[Play]:
    async with testing.server(upstream=script) as running:
        yield await another(running)
