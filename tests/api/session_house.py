"""An app with everything that a session needs, on a real store and a scripted model; the official SDK bound to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from anthropic import Anthropic, AsyncAnthropic

from freehold import inprocess
from freehold.access.keys import Keys
from freehold.access.workspaces import Workspaces
from freehold.agents.feed import Feed
from freehold.agents.inbox import Inbox
from freehold.agents.loop import Parts
from freehold.agents.model import Model
from freehold.agents.previews import Previews
from freehold.agents.runner import Runner
from freehold.agents.sessions import Sessions
from freehold.agents.tools.boxes import Outputs, Uploads
from freehold.agents.tools.execution import Execution
from freehold.api import agents, environments, events, files, resources, sessions, threads
from freehold.api.base import Application, application
from freehold.api.definitions import Definitions
from freehold.api.toolsets import Toolsets
from freehold.clock import SystemClock
from freehold.environments.workdirs import Workdirs
from freehold.ids import new_id
from freehold.jobs.driver import Driver, DriverSettings
from freehold.jobs.owners import Owners
from freehold.library.blobs import Blobs
from freehold.library.files import Files, FilesSettings
from freehold.library.message_files import MessageFiles
from freehold.library.skills import Skills
from freehold.library.sweeper import Sweeper
from freehold.store.agents import AgentRows
from freehold.store.blobs import BlobUsers
from freehold.store.engine import Store
from freehold.store.environments import EnvironmentRows
from freehold.store.files import FileRows
from freehold.store.sessions import SessionRows
from freehold.store.skills import SkillRows
from tests.agents.house import BoxFunctions, Company, Script
from tests.api.parts import http

TOOLS: list[Any] = [
    {
        "type": "agent_toolset_20260401",
        "configs": [{"name": "write", "permission_policy": {"type": "always_ask"}}],
    },
    {
        "type": "mcp_toolset",
        "mcp_server_name": "company",
        "default_config": {"permission_policy": {"type": "always_allow"}},
    },
    {"type": "custom", "name": "weather", "description": "Weather.", "input_schema": {"type": "object"}},
]
SERVERS: list[Any] = [{"type": "url", "name": "company", "url": "toolbox:company"}]


@dataclass(slots=True)
class SessionHouse:
    """The parts that tests reach for, and the app of them. Times are the machine's own."""

    store: Store
    app: Application
    script: Script
    boxes: BoxFunctions
    workdirs: Workdirs
    driver: Driver
    feed: Feed
    closed: list[str]
    """Sessions whose box was closed."""
    secrets: Mapping[str, str]
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def client(self, who: str = "member", *, strict: bool = True) -> AsyncAnthropic:
        return inprocess.async_client(self.app, self.secrets[who], strict=strict, max_retries=0)

    def sync_client(self, who: str = "member") -> Anthropic:
        return inprocess.sync_client(self.app, self.secrets[who], self.loop, strict=True, max_retries=0)

    def http(self, who: str = "member") -> AbstractAsyncContextManager[httpx2.AsyncClient]:
        return http(self.app, self.secrets[who])

    async def session(self, agent_model: str = "claude-haiku-4-5", **changes: Any) -> str:
        """A new session of a new agent with all kinds of tools; gives its id."""
        client = self.client()
        agent = await client.beta.agents.create(
            name="tester", model=agent_model, system="Be brief.", tools=TOOLS, mcp_servers=SERVERS
        )
        environment = await client.beta.environments.create(name="here", config={"type": "cloud"})
        made = await client.beta.sessions.create(agent=agent.id, environment_id=environment.id, **changes)
        return made.id

    async def say(self, session_id: str, words: str = "hello") -> Any:
        content: Any = [{"type": "text", "text": words}]
        return await self.client().beta.sessions.events.send(
            session_id, events=[{"type": "user.message", "content": content}]
        )

    async def events(self, session_id: str) -> list[Any]:
        return [event async for event in self.client().beta.sessions.events.list(session_id)]

    async def idle(self, session_id: str, times: int = 1, seconds: float = 60.0) -> list[Any]:
        """All events, once the session has gone idle so many times."""
        async with asyncio.timeout(seconds):
            while True:
                seen = self.store.wakes.version(session_id)
                found = await self.events(session_id)
                if sum(event.type == "session.status_idle" for event in found) >= times:
                    return found
                await self.store.wakes.changed(session_id, seen, 1.0)


@asynccontextmanager
async def open_session_house(
    store: Store, folder: Path, script: Script, boxes: BoxFunctions | None = None
) -> AsyncIterator[SessionHouse]:
    clock, functions, closed = SystemClock(), boxes or BoxFunctions(), []
    one = await Workspaces(store, clock=clock).create("one")
    other = await Workspaces(store, clock=clock).create("other")
    keys = await Keys.open(store, clock=clock)
    blobs = Blobs(folder / "blobs", floor_bytes=0)
    sweeper = Sweeper(BlobUsers(store), blobs, clock=clock)
    library = Files(FileRows(store), blobs, sweeper, clock=clock, ids=new_id, settings=FilesSettings())
    workdirs = Workdirs(folder / "work")
    uploads, outputs = Uploads(SessionRows(store), library, workdirs), Outputs(library, workdirs)

    async def close_box(session_id: str) -> None:
        closed.append(session_id)

    async def remove_workdir(session_id: str) -> None:
        uploads.forget(session_id)
        outputs.forget(session_id)
        workdirs.of(session_id).delete()

    own = Sessions(
        store,
        library,
        clock=clock,
        ids=new_id,
        close_box=close_box,
        remove_workdir=remove_workdir,
        priced=lambda model: model.startswith("claude-"),
    )
    previews = Previews()
    feed = Feed(store, previews, clock=clock)
    inbox = Inbox(store, clock=clock, ids=new_id, tell=feed.offer, check_files=MessageFiles(library).check)
    toolbox = Company()
    definitions = Definitions(Toolsets({"company": toolbox}))
    skills = Skills(SkillRows(store), blobs, sweeper, clock=clock, ids=new_id)
    parts = Parts(
        model=Model(script, clock=clock, ids=new_id, price=lambda model, usage, at_us: 20_000_000),
        execution=Execution(functions, {"company": toolbox}),
        previews=previews,
        clock=clock,
        ids=new_id,
        collect_outputs=outputs.collect,
        uploads=uploads.refresh,
        tell=feed.offer,
    )
    owners = Owners(folder / "owners", new_id)
    driver = Driver(store, owners, Runner(store, parts).work, clock=clock, settings=DriverSettings(drain_s=2.0))
    routes = [
        *agents.routes(AgentRows(store), definitions, skills, clock=clock, ids=new_id),
        *environments.routes(EnvironmentRows(store), clock=clock, ids=new_id),
        *files.routes(library),
        *sessions.routes(own, definitions, clock=clock),
        *events.routes(store, inbox, feed),
        *threads.routes(own, store, feed, clock=clock),
        *resources.routes(own),
    ]
    secrets = {
        "member": (await keys.create(one.id, "member")).secret,
        "other": (await keys.create(other.id, "other")).secret,
    }
    app = application(routes, keys=keys, clock=clock)
    driver.start()
    try:
        yield SessionHouse(store, app, script, functions, workdirs, driver, feed, closed, secrets)
    finally:
        feed.close()
        await driver.stop()
        owners.close()
        await keys.close()
