"""A small house around the loop: a real store, a driver, an inbox; the model is a script, the box a plain function."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from freehold.agents.compacting import Context, ContextSettings
from freehold.agents.inbox import Inbox
from freehold.agents.loop import Parts
from freehold.agents.model import Model
from freehold.agents.previews import Previews
from freehold.agents.runner import Runner
from freehold.agents.sessions import NewFile, NewSession, Sessions
from freehold.agents.tools.catalog import Spec
from freehold.agents.tools.execution import Execution, Place
from freehold.calls import Call, Caller, Reply
from freehold.clock import Clock, SystemClock
from freehold.environments.base import ToolOutcome
from freehold.ids import new_id
from freehold.jobs.driver import WAKE, Driver, DriverSettings
from freehold.jobs.owners import Owners
from freehold.store import session_log, workspaces
from freehold.store.agents import AgentRow, AgentRows
from freehold.store.engine import Store
from freehold.store.environments import EnvironmentRows
from freehold.store.files import FileRow
from freehold.store.workspaces import Workspace
from freehold.toolboxes.base import Toolbox, ToolResult, ToolSpec
from freehold.toolboxes.current import NOBODY, Asker
from freehold.wire.envelopes import error_body
from freehold.wire.frames import frame
from freehold.wire.grammar import unfold
from freehold.wire.reads import Read

Json = dict[str, Any]
WORKSPACE = "wrkspc_test"
CALLER = Caller(WORKSPACE, "apikey_test", "member")
ALLOW = {"type": "always_allow"}
ASK = {"type": "always_ask"}
BUILT_IN = ("bash", "edit", "read", "write", "glob", "grep")


def text(*words: str) -> Json:
    """A reply that only says something."""
    return {"content": [{"type": "text", "text": " ".join(words)}], "stop_reason": "end_turn"}


def calls(*uses: tuple[str, Any], say: str = "", stop: str = "tool_use") -> Json:
    """A reply that calls tools."""
    said = [{"type": "text", "text": say}] if say else []
    made = [
        {"type": "tool_use", "id": f"toolu_{new_id('x')[2:]}", "name": name, "input": given} for name, given in uses
    ]
    return {"content": [*said, *made], "stop_reason": stop}


@dataclass
class Script:
    """A model that says what it is told to, in order, and keeps what it was asked. Its last line is repeated."""

    lines: Sequence[Json | Exception | Callable[[Json], Awaitable[Json]]]
    asked: list[Json] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """While clear and `waits` is set, every stream stops after its first event."""
    waits: bool = False

    def __call__(self, call: Call) -> AbstractAsyncContextManager[Reply]:
        return self._reply(call)

    @asynccontextmanager
    async def _reply(self, call: Call) -> AsyncIterator[Reply]:
        body = msgspec.json.decode(call.body)
        line = self.lines[min(len(self.asked), len(self.lines) - 1)]
        self.asked.append(body)
        self.calls.append(call)
        if callable(line):
            line = await line(body)
        if isinstance(line, Exception):
            raise line
        if "status" in line:
            head = [(name.encode(), value.encode()) for name, value in line.get("headers", {}).items()]
            yield Reply(line["status"], head, whole=error_body(line["error"], call.request_id))
            return
        yield Reply(200, [], reads=self._reads(line, body["model"]))

    async def _reads(self, line: Json, model: str) -> AsyncIterator[Read]:
        usage = {"input_tokens": 10, "output_tokens": 5} | line.get("usage", {})
        base = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}
        message = {**base, **line, "usage": usage}
        for event in unfold(message, pieces=lambda whole: [whole[i : i + 7] for i in range(0, len(whole), 7)]):
            data = frame(event["type"], msgspec.json.encode(event))
            yield Read(data, [len(data)])
            if self.waits and event["type"] == line.get("stop_at", "message_start"):
                await self.gate.wait()


class BoxFunctions:
    """Built-in tools that are Python functions: `async def (arguments) -> text`. Keeps what was run, by key."""

    def __init__(self, **functions: Callable[[Mapping[str, Any]], Awaitable[str]]) -> None:
        self.functions = functions
        self.ran: list[tuple[str, str]] = []
        self.known: dict[str, ToolOutcome] = {}
        self.expected: list[str] = []

    def specs(self) -> Sequence[Spec]:
        return [ToolSpec(name, f"does {name}", {"type": "object"}) for name in BUILT_IN]

    async def call(self, place: Place, name: str, arguments: Mapping[str, Any], *, key: str) -> ToolOutcome:
        self.ran.append((name, key))
        said = await self.functions[name](arguments) if name in self.functions else f"{name} done"
        return ToolOutcome([{"type": "text", "text": said}])

    async def expect(self, place: Place) -> None:
        self.expected.append(place.session_id)

    async def outcome(self, place: Place, key: str) -> ToolOutcome | None:
        return self.known.get(key)


class Company:
    """A toolbox of one function."""

    name = "company"

    def tools(self) -> Sequence[ToolSpec]:
        return [ToolSpec("lookup", "look a user up", {"type": "object"})]

    async def call(
        self, tool: str, arguments: Mapping[str, Any], *, key: str, session_id: str = "", asker: Asker = NOBODY
    ) -> ToolResult:
        if arguments.get("id") == "nobody":
            return ToolResult([{"type": "text", "text": "no such user"}], is_error=True)
        return ToolResult([{"type": "text", "text": f"user {arguments.get('id')}"}])

    async def close(self) -> None:
        pass


class NoFiles:
    """A library that has nothing."""

    async def copy_for_session(self, workspace_id: str, file_id: str, session_id: str) -> FileRow:
        raise AssertionError("no file was given")

    async def delete(self, workspace_id: str, file_id: str) -> None:
        raise AssertionError("no file was given")

    async def forget_session(self, workspace_id: str, session_id: str) -> None:
        pass


async def nothing(*_: object) -> None:
    """Done."""


async def no_uploads(*_: object) -> Sequence[str]:
    """None."""
    return ()


def definition(**changes: Any) -> Json:
    """An agent with every kind of tool; bash is allowed, write asks."""
    configs = [{"type": n, "name": n, "enabled": True, "permission_policy": ALLOW} for n in BUILT_IN if n != "write"]
    configs.append({"type": "write", "name": "write", "enabled": True, "permission_policy": ASK})
    made = {
        "name": "tester",
        "description": None,
        "system": "Be brief.",
        "model": {"id": "claude-haiku-4-5", "effort": None, "speed": "standard", "inference_geo": None},
        "mcp_servers": [{"type": "url", "name": "company", "url": "toolbox:company"}],
        "tools": [
            {
                "type": "agent_toolset_20260401",
                "default_config": {"enabled": True, "permission_policy": ALLOW},
                "configs": configs,
            },
            {
                "type": "mcp_toolset",
                "mcp_server_name": "company",
                "default_config": {"enabled": True, "permission_policy": ALLOW},
                "configs": [],
            },
            {"type": "custom", "name": "weather", "description": "Weather.", "input_schema": {"type": "object"}},
        ],
        "skills": [],
        "multiagent": None,
        "execution_identity": {"type": "service_account"},
    }
    return made | changes


def snapshot(row: AgentRow) -> Json:
    return {"type": "agent", "id": row.id, "version": row.version, **row.definition}


class ForwardClock(SystemClock):
    """The machine's, which can be put forward: what is due in some seconds need not be waited for."""

    def __init__(self) -> None:
        self.forward_us = 0

    def now_us(self) -> int:
        """See `Clock`."""
        return super().now_us() + self.forward_us


class House:
    """Everything a session needs, on one store."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        script: Script,
        *,
        boxes: BoxFunctions | None = None,
        toolbox: Toolbox | None = None,
        clock: Clock | None = None,
        drain_s: float = 5.0,
        window_tokens: int = 1_000_000,
        retried: Sequence[str] = (),
    ) -> None:
        self.store = store
        self.forward = ForwardClock()
        self.clock = clock or self.forward
        self.script = script
        self.boxes = boxes or BoxFunctions()
        self.previews = Previews()
        self.cost_nanodollars = 1_000_000
        self.inbox = Inbox(store, clock=self.clock, ids=new_id)
        self.sessions = Sessions(
            store, NoFiles(), clock=self.clock, ids=new_id, close_box=nothing, remove_workdir=nothing
        )
        self.parts = Parts(
            model=Model(script, clock=self.clock, ids=new_id, price=lambda model, usage, at_us: self.cost_nanodollars),
            execution=Execution(self.boxes, {"company": toolbox or Company()}, retried=retried),
            previews=self.previews,
            clock=self.clock,
            ids=new_id,
            collect_outputs=nothing,
            uploads=no_uploads,
            context=Context(ContextSettings(), lambda model: window_tokens),
        )
        self.owners = Owners(folder / "owners", new_id)
        runner = Runner(store, self.parts)
        self.driver = Driver(
            store, self.owners, runner.work, clock=self.clock, settings=DriverSettings(drain_s=drain_s), pause_s=0.0
        )
        self._numbers = itertools.count(1)

    async def open(self) -> House:
        self.driver.start()
        return self

    async def close(self) -> None:
        await self.driver.stop()
        self.owners.close()

    async def session(self, *, cap_cents: int | None = None, **changes: Any) -> str:
        """A new session of a new agent; gives its id."""
        now_us = self.clock.now_us()
        await self._workspace(now_us)
        number = next(self._numbers)
        agent_id, environment_id = new_id("agent"), new_id("env")
        await AgentRows(self.store).create(WORKSPACE, agent_id, definition(**changes), now_us)
        body = {"name": f"env {number}", "config": {"type": "cloud"}}
        await EnvironmentRows(self.store).create(WORKSPACE, environment_id, body, now_us)
        files: Sequence[NewFile] = ()
        new = NewSession(agent_id, None, snapshot, environment_id, files=files, cap_cents=cap_cents)
        row, _ = await self.sessions.create(CALLER, new)
        return row.id

    async def say(self, session_id: str, said: str = "hello") -> Json:
        """Send a message; gives the event."""
        event = {"type": "user.message", "content": [{"type": "text", "text": said}]}
        return (await self.inbox.send(WORKSPACE, session_id, [event]))[0]

    async def send(self, session_id: str, *events: Json) -> list[Json]:
        return await self.inbox.send(WORKSPACE, session_id, events)

    async def log(self, session_id: str) -> list[Json]:
        """The events in the log."""
        async with self.store.read() as connection:
            rows = await session_log.after(connection, session_id, 0)
        return [msgspec.json.decode(row.body) for row in rows]

    async def until(self, session_id: str, wanted: Callable[[list[Json]], bool], seconds: float = 60.0) -> list[Json]:
        """The log, as soon as it is as wanted."""
        async with asyncio.timeout(seconds):
            while True:
                seen = self.store.wakes.version(session_id)
                events = await self.log(session_id)
                if wanted(events):
                    return events
                await self.store.wakes.changed(session_id, seen, 1.0)

    async def tries_again(self, session_id: str) -> None:
        """Once it has failed and waits for a later try, that time comes at once."""
        await self.until(session_id, lambda log: "session.status_rescheduled" in types(log))
        self.forward.forward_us += 60_000_000
        self.store.wakes.signal([WAKE])

    async def idle(self, session_id: str, times: int = 1) -> list[Json]:
        """The log, once the session has gone idle so many times."""
        return await self.until(session_id, lambda log: types(log).count("session.status_idle") >= times)

    async def status(self, session_id: str) -> str:
        return (await self.sessions.rows.get(WORKSPACE, session_id)).status

    async def journal(self, session_id: str) -> dict[str, str]:
        """From the name of each call to its state."""
        async with self.store.read() as connection:
            every: list[session_log.State] = ["planned", "started", "done", "unknown", "denied"]
            return {call.name: call.state for call in await session_log.tool_calls(connection, session_id, every)}

    async def _workspace(self, now_us: int) -> None:
        async with self.store.read() as connection:
            if await workspaces.get(connection, WORKSPACE) is not None:
                return
        made = Workspace(WORKSPACE, "test", now_us, None)
        await self.store.write(lambda connection: workspaces.create(connection, made))


def types(events: Sequence[Json]) -> list[str]:
    """The types of events."""
    return [event["type"] for event in events]


def of_type(events: Sequence[Json], kind: str) -> list[Json]:
    """The events of one type."""
    return [event for event in events if event["type"] == kind]


def last_stop(events: Sequence[Json]) -> Json:
    """Why the session is idle."""
    reason: Json = of_type(events, "session.status_idle")[-1]["stop_reason"]
    return reason


def said(event: Json) -> str:
    """The text of a message or result."""
    return "".join(block["text"] for block in event["content"] if block["type"] == "text")
