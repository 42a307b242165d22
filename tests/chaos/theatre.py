"""A real server that is killed on cue, a model that never is, and the rules that must hold whatever happened.

The model is an HTTP server in the test's process. It answers from the transcript alone, so that it does not matter how
often it is asked: three rounds of calls in boxes, toolboxes and one that asks a person, then a last word.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from anthropic import APIConnectionError, APIStatusError, AsyncAnthropic

from freehold.clock import SystemClock
from freehold.launch import ServerProcess
from freehold.store import session_log
from freehold.store.engine import Store
from freehold.wire.frames import frame
from freehold.wire.grammar import unfold
from tests.scripted_upstream import Line, Request, ScriptedUpstream, scripted

TOOLS_FILE = Path(__file__).with_name("effects_tools.py")
BASH = "echo $RANDOM >> /workspace/lines; wc -l < /workspace/lines"
ROUNDS: list[list[tuple[str, dict[str, Any]]]] = [
    [("bash", {"command": BASH}), ("mcp__bank__deposit", {"amount": 1}), ("mcp__bank__slow_deposit", {"amount": 2})],
    [("write", {"file_path": "/workspace/a.txt", "content": "a"}), ("mcp__bank__deposit", {"amount": 3})],
    [("bash", {"command": BASH})],
]
AGENT_TOOLS: list[Any] = [
    {"type": "agent_toolset_20260401", "configs": [{"name": "write", "permission_policy": {"type": "always_ask"}}]},
    {
        "type": "mcp_toolset",
        "mcp_server_name": "bank",
        "default_config": {"permission_policy": {"type": "always_allow"}},
    },
]
SERVERS: list[Any] = [{"type": "url", "name": "bank", "url": "toolbox:effects_tools"}]
HELLO: Any = {"type": "user.message", "content": [{"type": "text", "text": "go"}]}


async def model(request: Request, line: Line) -> None:
    """Answer one request to `/v1/messages`, streamed."""
    body = request.json()
    rounds = sum(message["role"] == "assistant" for message in body["messages"])
    content: list[dict[str, Any]] = [{"type": "text", "text": f"round {rounds}"}]
    if rounds < len(ROUNDS):
        content += [
            {"type": "tool_use", "id": f"toolu_{rounds}_{place}", "name": name, "input": given}
            for place, (name, given) in enumerate(ROUNDS[rounds])
        ]
    await stream(line, body["model"], content)


async def stream(line: Line, model_name: str, content: list[dict[str, Any]], input_tokens: int = 10) -> None:
    """A whole answer of the model."""
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model_name,
        "content": content,
        "stop_reason": "tool_use" if len(content) > 1 else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": input_tokens, "output_tokens": 5},
    }
    await line.begin_stream()
    for event in unfold(message):
        await line.chunk(frame(event["type"], json.dumps(event).encode()))
    await line.chunk(b"")


class Theatre:
    """One data folder, its database, and the server that runs on it, again and again."""

    def __init__(self, folder: Path, database_url: str, upstream: ScriptedUpstream) -> None:
        self.folder = folder
        self.database_url = database_url
        self.effects = folder / "effects"
        self.effects.touch()
        self._upstream = upstream
        self._clients: list[AsyncAnthropic] = []
        self.environment: dict[str, str] = {}
        """For every server that is started from now on."""
        self.server = self.make_server()

    def make_server(self, chaos: str = "") -> ServerProcess:
        """Another server on this folder and database, armed or not."""
        return ServerProcess(
            self.folder / "data",
            tools=[TOOLS_FILE],
            arguments=[f"--database={self.database_url}", f"--upstream={self._upstream.url}"],
            environment={
                "EFFECTS_FILE": str(self.effects),
                **self.environment,
                **({"CHAOS_POINT": chaos} if chaos else {}),
            },
        )

    async def start(self, chaos: str = "") -> None:
        """Start the server, armed or not; on the same port as before."""
        address = self.server.address
        self.server = self.make_server(chaos)
        self.server.address = address
        await asyncio.to_thread(self.server.start)

    async def kill(self) -> None:
        await asyncio.to_thread(self.server.kill)

    async def stop(self) -> None:
        await asyncio.to_thread(self.server.stop)

    def client(self, server: ServerProcess | None = None) -> AsyncAnthropic:
        server = server or self.server
        client = AsyncAnthropic(base_url=server.address, api_key=server.key, max_retries=0)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        await self.kill()
        for client in self._clients:
            await client.close()

    async def session(self) -> str:
        """A new session of a new agent."""
        return (await self.sessions(1))[0]

    async def sessions(self, count: int, tools: list[Any] = AGENT_TOOLS, **more: Any) -> list[str]:
        """New sessions of one new agent."""
        client = self.client()
        agent = await client.beta.agents.create(
            name="teller", model="claude-haiku-4-5", tools=tools, mcp_servers=SERVERS
        )
        environment = await client.beta.environments.create(name="here", config={"type": "cloud"})
        create = client.beta.sessions.create
        return [(await create(agent=agent.id, environment_id=environment.id, **more)).id for _ in range(count)]

    async def play(self, session: str, seconds: float = 120.0, server: ServerProcess | None = None) -> list[Any] | None:
        """Confirm what asks until the turn has ended; `None` if the server died meanwhile."""
        client = self.client(server)
        try:
            async with asyncio.timeout(seconds):
                while True:
                    newest: Any = (await client.beta.sessions.events.list(session, order="desc", limit=1)).data
                    if newest and newest[0].type == "session.status_idle":
                        if newest[0].stop_reason.type != "requires_action":
                            return [event async for event in client.beta.sessions.events.list(session)]
                        await self._confirm(client, session, newest[0].stop_reason.event_ids)
                    await asyncio.sleep(0.05)  # polling from outside: there is nothing else to wait on
        except APIConnectionError:
            return None

    async def _confirm(self, client: AsyncAnthropic, session: str, ids: list[str]) -> None:
        answers: Any = [{"type": "user.tool_confirmation", "tool_use_id": one, "result": "allow"} for one in ids]
        with contextlib.suppress(APIStatusError):  # it was confirmed before the server died
            await client.beta.sessions.events.send(session, events=answers)

    async def broken_rules(self, session: str) -> list[str]:
        """Every invariant that does not hold. The server may run or not."""
        store = await Store.open(self.database_url, clock=SystemClock())
        try:
            async with store.read() as connection:
                rows = await session_log.after(connection, session, 0)
                every: list[session_log.State] = ["planned", "started", "done", "unknown", "denied"]
                journal = await session_log.tool_calls(connection, session, every)
        finally:
            await store.close()
        events = [msgspec.json.decode(row.body) for row in rows]
        done = Counter(self.effects.read_text().split())
        problems = []
        if [row.seq for row in rows] != list(range(1, len(rows) + 1)):
            problems.append("seq is not 1..n")
        uses = {event["id"]: event for event in events if event["type"] in ("agent.tool_use", "agent.mcp_tool_use")}
        results = Counter(
            event.get("tool_use_id") or event["mcp_tool_use_id"]
            for event in events
            if event["type"] in ("agent.tool_result", "agent.mcp_tool_result")
        )
        problems += [f"{one} has {results[one]} results" for one in uses if results[one] != 1]
        problems += [f"{one} is a result of nothing" for one in results if one not in uses]
        problems += [f"{key} took effect {count} times" for key, count in done.items() if count > 1]
        for call in journal:
            if call.state in ("planned", "started"):
                problems.append(f"{call.event_id} is left {call.state}")
            if call.name.startswith("mcp__") and call.state == "done" and call.event_id not in done:
                problems.append(f"{call.event_id} is done without its effect")
        unknown = [call.event_id for call in journal if call.state == "unknown"]
        told = " ".join(e["error"]["message"] for e in events if e["type"] == "session.error")
        problems += [f"{one} is unknown and nobody was told" for one in unknown if one not in told]
        starts = [event["id"] for event in events if event["type"] == "span.model_request_start"]
        ends = [e["model_request_start_id"] for e in events if e["type"] == "span.model_request_end"]
        if starts != ends:
            problems.append("spans are not closed one by one")
        if events[-1]["type"] != "session.status_idle" or events[-1]["stop_reason"] != {"type": "end_turn"}:
            problems.append(f"it ended with {events[-1]['type']}")
        return problems


@asynccontextmanager
async def open_theatre(
    folder: Path, database_url: str, answers: Callable[[Request, Line], Awaitable[None]] = model
) -> AsyncIterator[Theatre]:
    """A theatre without a running server; whatever runs at the end is stopped."""
    async with scripted(answers) as upstream:
        theatre = Theatre(folder, database_url, upstream)
        try:
            yield theatre
        finally:
            await theatre.close()
