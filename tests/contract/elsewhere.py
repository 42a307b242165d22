"""A server with a self-hosted environment, its workers' key, and sessions in it whose model is a script."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from anthropic import AsyncAnthropic
from anthropic.types.beta.environments import BetaSelfHostedWork

from freehold.clock import Clock
from freehold.testing import Running, server
from tests.agents.house import Script, calls, text

MODEL = "claude-haiku-5-5"
TOOLS: Any = [{"type": "agent_toolset_20260401"}]
ONE_CALL = [calls(("bash", {"command": "echo here"})), text("Done.")]


def said(words: str) -> Any:
    """An event that begins a turn."""
    return {"type": "user.message", "content": [{"type": "text", "text": words}]}


def result(call_id: str, words: str = "here") -> Any:
    """A worker's answer."""
    return {"type": "user.tool_result", "tool_use_id": call_id, "content": [{"type": "text", "text": words}]}


def token_of(item: BetaSelfHostedWork) -> str:
    """The token in an item that was polled, as the SDK's worker takes it out."""
    assert item.secret is not None
    return str(json.loads(base64.urlsafe_b64decode(item.secret + "=="))["sessions_token"])


@dataclass
class Elsewhere:
    """The server, the environment whose tools run elsewhere, and the key of its workers."""

    running: Running
    environment: str
    key: str

    @property
    def client(self) -> AsyncAnthropic:
        """Of the user."""
        return self.running.client

    @property
    def worker(self) -> AsyncAnthropic:
        """With the environment's key."""
        return self.bearing(self.key)

    def bearing(self, key: str) -> AsyncAnthropic:
        """With any key or token."""
        return self.running.new_client(key, max_retries=0)

    async def session(self, tools: Any = TOOLS, *, says: str | None = "go on", **more: Any) -> str:
        """A session that works already, unless nothing is said."""
        beta = self.client.beta
        agent = await beta.agents.create(name="hand", model=MODEL, tools=tools, skills=more.pop("skills", []))
        begin: Any = [] if says is None else [said(says)]
        made = await beta.sessions.create(agent=agent.id, environment_id=self.environment, initial_events=begin, **more)
        return made.id

    async def log(self, session: str) -> list[Any]:
        """All events."""
        return [event async for event in self.client.beta.sessions.events.list(session)]

    async def until(self, session: str, there: Callable[[list[Any]], object]) -> list[Any]:
        """All events, once that is true of them."""
        store = self.running.application.store
        async with asyncio.timeout(120):
            while True:
                seen = store.wakes.version(session)
                if there(log := await self.log(session)):
                    return log
                await store.wakes.changed(session, seen, 1.0)

    async def waits(self, session: str, times: int = 1) -> list[str]:
        """The ids of the calls that wait for a worker, once it has gone idle for such so often."""
        log = await self.until(session, lambda log: len(idles(log, "requires_action")) >= times)
        return list(idles(log, "requires_action")[-1].stop_reason.event_ids)

    async def poll(self, **more: Any) -> BetaSelfHostedWork | None:
        """Ask for work."""
        return await self.worker.beta.environments.work.poll(self.environment, **more)

    async def take(self) -> BetaSelfHostedWork:
        """Take an item that must be there, and acknowledge it."""
        item = await self.poll()
        assert item is not None
        await self.worker.beta.environments.work.ack(item.id, environment_id=self.environment)
        return item

    async def beat(self, item: BetaSelfHostedWork, last: str | None = None, **more: Any) -> Any:
        """A heartbeat with the item's own token; `last` left out: the first one."""
        return await self.bearing(token_of(item)).beta.environments.work.heartbeat(
            item.id,
            environment_id=self.environment,
            expected_last_heartbeat="NO_HEARTBEAT" if last is None else last,
            **more,
        )

    async def state(self, item: BetaSelfHostedWork) -> str:
        """As an API key sees it."""
        found = await self.client.beta.environments.work.retrieve(item.id, environment_id=self.environment)
        assert found.secret is None
        return found.state


def idles(log: list[Any], reason: str) -> list[Any]:
    """Where the session went idle for that reason."""
    return [event for event in log if event.type == "session.status_idle" and event.stop_reason.type == reason]


def ended(log: list[Any]) -> bool:
    """Whether its turn came to an end."""
    return bool(idles(log, "end_turn"))


@asynccontextmanager
async def elsewhere(
    script: Script, *, clock: Clock | None = None, strict: bool = True, **settings: Any
) -> AsyncIterator[Elsewhere]:
    """For the time of the block."""
    async with server(upstream=script, strict=strict, clock=clock, settings=settings) as running:
        environment = await running.client.beta.environments.create(name="ours", config={"type": "self_hosted"})
        body = {"name": "worker", "environment_id": environment.id}
        made = await running.client.post("/freehold/v1/keys", body=body, cast_to=dict[str, Any])
        yield Elsewhere(running, environment.id, str(made["secret"]))
