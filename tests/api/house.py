"""An app with the plain resources over a real store, and the official SDK bound to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from anthropic import Anthropic, AsyncAnthropic

from freehold import inprocess
from freehold.access.keys import Keys
from freehold.access.workspaces import Workspaces
from freehold.api import agents, environments, files, health, keys, memory_stores, skills, workspaces
from freehold.api.base import Application, application
from freehold.api.definitions import Definitions
from freehold.api.toolsets import Toolsets
from freehold.clock import HandClock
from freehold.ids import new_id
from freehold.library.blobs import Blobs
from freehold.library.files import Files, FilesSettings
from freehold.library.memories import Memories
from freehold.library.skills import Skills
from freehold.library.sweeper import Sweeper
from freehold.store.agents import AgentRows
from freehold.store.blobs import BlobUsers
from freehold.store.engine import Store
from freehold.store.environments import EnvironmentRows
from freehold.store.files import FileRows
from freehold.store.memories import MemoryRows
from freehold.store.memory_stores import MemoryStoreRows
from freehold.store.memory_versions import MemoryVersionRows
from freehold.store.skills import SkillRows
from freehold.toolboxes.base import ToolResult, ToolSpec
from freehold.toolboxes.current import NOBODY, Asker
from tests.api.parts import http


@dataclass(slots=True)
class Shelf:
    """A toolbox that only lists its tools."""

    name: str
    names: Sequence[str]

    def tools(self) -> Sequence[ToolSpec]:
        return [ToolSpec(name, f"Does {name}.", {"type": "object"}) for name in self.names]

    async def call(
        self, tool: str, arguments: Mapping[str, Any], *, key: str, session_id: str = "", asker: Asker = NOBODY
    ) -> ToolResult:
        raise AssertionError("nobody calls it here")

    async def close(self) -> None:
        """There is nothing to let go of."""


COMPANY = Shelf("company", ("find_user", "orders_of"))


@dataclass(slots=True)
class House:
    """The parts and the app of them; times of its rows turn with `clock`.

    `secrets` are keys by their role in the tests: `member` and `admin` of the workspace `one`, `other` of another.
    """

    store: Store
    app: Application
    clock: HandClock
    files: Files
    blobs: Blobs
    sweeper: Sweeper
    skills: Skills
    memories: Memories
    keys: Keys
    secrets: Mapping[str, str]
    one: str
    other: str
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def client(self, who: str = "member") -> AsyncAnthropic:
        return inprocess.async_client(self.app, self.secrets[who], strict=True, max_retries=0)

    def sync_client(self, who: str = "member") -> Anthropic:
        return inprocess.sync_client(self.app, self.secrets[who], self.loop, strict=True, max_retries=0)

    def http(self, who: str = "member") -> AbstractAsyncContextManager[httpx2.AsyncClient]:
        return http(self.app, self.secrets[who])


@asynccontextmanager
async def open_house(store: Store, folder: Path, *, settings: FilesSettings | None = None) -> AsyncIterator[House]:
    clock = HandClock()
    spaces = Workspaces(store, clock=clock)
    one, other = await spaces.create("one"), await spaces.create("other")
    keys_ = await Keys.open(store, clock=clock)
    blobs = Blobs(folder / "blobs", floor_bytes=0)
    sweeper = Sweeper(BlobUsers(store), blobs, clock=clock)
    kept = Files(FileRows(store), blobs, sweeper, clock=clock, ids=new_id, settings=settings or FilesSettings())
    memories = Memories(
        MemoryStoreRows(store), MemoryRows(store, ids=new_id), MemoryVersionRows(store), clock=clock, ids=new_id
    )
    skills_ = Skills(SkillRows(store), blobs, sweeper, clock=clock, ids=new_id)
    definitions = Definitions(Toolsets({"company": COMPANY}))
    routes = [
        *health.routes(_ready),
        *agents.routes(AgentRows(store), definitions, skills_, clock=clock, ids=new_id),
        *environments.routes(EnvironmentRows(store), clock=clock, ids=new_id),
        *files.routes(kept),
        *skills.routes(skills_),
        *memory_stores.routes(memories),
        *workspaces.routes(spaces),
        *keys.routes(keys_),
    ]
    secrets = {
        "member": (await keys_.create(one.id, "member")).secret,
        "admin": (await keys_.create(one.id, "admin", "admin")).secret,
        "other": (await keys_.create(other.id, "other")).secret,
    }
    app = application(routes, keys=keys_, clock=clock)
    try:
        yield House(store, app, clock, kept, blobs, sweeper, skills_, memories, keys_, secrets, one.id, other.id)
    finally:
        await keys_.close()


async def _ready() -> str | None:
    return None
