"""kill -9 while a worker takes sessions from the queue: none is lost, no call is answered twice, no item is stuck.

The workers are the official SDK's, in the test's process, so they live through what the server does not.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anthropic import APIError, AsyncAnthropic, beta_async_tool

from freehold.launch import ServerProcess
from tests.chaos.theatre import HELLO, Theatre, open_theatre, stream
from tests.scripted_upstream import Line, Request

POINTS = ("after_poll", "before_ack", "after_ack", "before_heartbeat", "after_heartbeat")
ROUNDS = [["one"], ["two", "three"], ["four"]]
SESSIONS = 3
LEASE_S = "2"


async def model(request: Request, line: Line) -> None:
    """Three rounds of calls, decided by the transcript alone."""
    body = request.json()
    rounds = sum(message["role"] == "assistant" for message in body["messages"])
    content: list[dict[str, Any]] = [{"type": "text", "text": f"round {rounds}"}]
    for place, word in enumerate(ROUNDS[rounds] if rounds < len(ROUNDS) else []):
        use = {"type": "tool_use", "id": f"toolu_{rounds}_{place}", "name": "bash", "input": {"command": word}}
        content.append(use)
    await stream(line, body["model"], content)


def _all() -> list[object]:
    return [
        pytest.param(point, hit, kind, id=f"{point}-{hit}-{kind}")
        for kind in ("sqlite", "postgresql")
        for point in POINTS
        for hit in (1, 2, 3)
    ]


@pytest.mark.soak
@pytest.mark.parametrize(("point", "hit", "database_kind"), _all())
async def test_after_a_kill_every_session_is_worked_on_to_its_end(
    point: str, hit: int, database_kind: str, database_url: str, tmp_path: Path
) -> None:
    async with open_theatre(tmp_path, database_url, model) as theatre:
        theatre.environment["FREEHOLD_WORK_LEASE_S"] = LEASE_S
        await theatre.start(f"{point}:{hit}")
        environment, key, sessions = await begin(theatre)
        async with workers(environment, key, [theatre.server] * 2, tmp_path) as effects:
            if await settled(theatre, sessions) is None:
                await theatre.kill()
                await theatre.start()
                assert await settled(theatre, sessions) is not None, theatre.server.output
            assert await emptied(theatre, environment), "an item is stuck"
        assert await broken_rules(theatre, sessions, effects) == []


@pytest.mark.parametrize(
    ("point", "database_kind"),
    [("after_ack", "sqlite"), pytest.param("after_heartbeat", "postgresql", marks=pytest.mark.soak)],
)
async def test_two_servers_on_one_database_share_the_queue_and_one_may_die(
    point: str, database_kind: str, database_url: str, tmp_path: Path
) -> None:
    """The slice of all this that `make test` plays."""
    async with open_theatre(tmp_path, database_url, model) as theatre:
        theatre.environment["FREEHOLD_WORK_LEASE_S"] = LEASE_S
        await theatre.start()
        second = theatre.make_server(f"{point}:1")
        await asyncio.to_thread(second.start)
        try:
            environment, key, sessions = await begin(theatre)
            async with workers(environment, key, [theatre.server, second], tmp_path) as effects:
                assert await settled(theatre, sessions) is not None, theatre.server.output
                assert await broken_rules(theatre, sessions, effects) == []
        finally:
            await asyncio.to_thread(second.kill)


async def begin(theatre: Theatre) -> tuple[str, str, list[str]]:
    """A self-hosted environment, the key of its workers, and sessions that have begun to work in it."""
    client = theatre.client()
    environment = await client.beta.environments.create(name="elsewhere", config={"type": "self_hosted"})
    body = {"name": "worker", "environment_id": environment.id}
    key: Any = await client.post("/freehold/v1/keys", body=body, cast_to=dict[str, Any])
    tools: Any = [{"type": "agent_toolset_20260401"}]
    agent = await client.beta.agents.create(name="hand", model="claude-haiku-4-5", tools=tools)
    create = client.beta.sessions.create
    made = [
        await create(agent=agent.id, environment_id=environment.id, initial_events=[HELLO]) for _ in range(SESSIONS)
    ]
    return environment.id, key["secret"], [session.id for session in made]


@asynccontextmanager
async def workers(
    environment: str, key: str, servers: list[ServerProcess], folder: Path
) -> AsyncIterator[Counter[tuple[str, str]]]:
    """A worker of the SDK for each of the servers; gives how often each command of each session took effect."""
    effects: Counter[tuple[str, str]] = Counter()

    def tools(context: Any) -> Any:
        @beta_async_tool(name="bash")
        async def bash(command: str) -> str:
            """Does something that can be counted."""
            effects[context.session.id, command] += 1
            return f"{command} is done"

        return [bash]

    clients = [AsyncAnthropic(base_url=server.address, auth_token=key, max_retries=0) for server in servers]
    running = [
        asyncio.create_task(
            client.beta.environments.work.worker(
                environment_id=environment, environment_key=key, tools=tools, workdir=folder, max_idle=0.2
            ).run()
        )
        for client in clients
    ]
    try:
        yield effects
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for client in clients:
            await client.close()


async def settled(theatre: Theatre, sessions: list[str]) -> bool | None:
    """Wait until the turn of each has ended; `None`: the server has died."""
    client, left = theatre.client(), list(sessions)
    try:
        async with asyncio.timeout(120):
            while True:
                left = [session for session in left if not await _ended(client, session)]
                if not left:
                    return True
                await asyncio.sleep(0.3)  # polling from outside: there is nothing else to wait on
    except APIError:
        return None


async def _ended(client: AsyncAnthropic, session: str) -> bool:
    newest = await client.beta.sessions.events.list(session, order="desc", limit=1)
    [last] = newest.data
    return last.type == "session.status_idle" and last.stop_reason.type == "end_turn"


async def emptied(theatre: Theatre, environment: str) -> bool:
    """Wait until every item is stopped."""
    client = theatre.client()
    async with asyncio.timeout(60):
        while True:
            items = [item async for item in client.beta.environments.work.list(environment)]
            if all(item.state == "stopped" for item in items):
                return True
            await asyncio.sleep(0.3)  # polling from outside


async def broken_rules(theatre: Theatre, sessions: list[str], effects: Counter[tuple[str, str]]) -> list[str]:
    """Every invariant that does not hold."""
    client, problems = theatre.client(), []
    for session in sessions:
        log: list[Any] = [event async for event in client.beta.sessions.events.list(session)]
        uses = [event for event in log if event.type == "agent.tool_use"]
        results = Counter(event.tool_use_id for event in log if event.type == "user.tool_result")
        wanted = [word for words in ROUNDS for word in words]
        if [event.input["command"] for event in uses] != wanted:
            problems.append(f"{session} asked for {[event.input for event in uses]}")
        problems += [f"{event.id} has {results[event.id]} results" for event in uses if results[event.id] != 1]
        problems += [
            f"{word} of {session} took effect {effects[session, word]} times"
            for word in wanted
            if not 1 <= effects[session, word] <= 2  # a worker that lost an item may have begun a call
        ]
    return problems
