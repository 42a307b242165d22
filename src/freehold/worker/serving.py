"""Serves one item of work from its first heartbeat to its end: lease, skills, memories, box, calls, results."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anthropic import APIConnectionError, APIStatusError, AsyncAnthropic
from anthropic.lib.tools.agent_toolset import AgentToolContext
from anthropic.types.beta import BetaManagedAgentsSession
from anthropic.types.beta.environments import BetaSelfHostedWork

from freehold.environments.base import Boxes, BoxSpec, Folder, Limits, ToolOutcome
from freehold.environments.fleet import Fleet
from freehold.environments.users import user_of
from freehold.environments.workdirs import WORKSPACE, Workdir, Workdirs
from freehold.worker.calls import SessionCalls
from freehold.worker.following import Event, Following
from freehold.worker.lease import WorkLease
from freehold.worker.memories import MemoryFolders

log = logging.getLogger(__name__)

SKILLS = f"{WORKSPACE}/skills"
_PAUSE_S = 1.0
_DRAIN_S = 20.0
"""For calls that run when the worker is told to stop."""


@dataclass(frozen=True, slots=True)
class House:
    """What this machine gives to sessions."""

    fleet: Fleet
    boxes: Boxes
    workdirs: Workdirs
    environment: Mapping[str, Any]
    """Packages and networking of the boxes, as a `cloud` environment has them."""
    limits: Limits
    idle_s: float


class Serving:
    """One item. `client` speaks with the item's own token; `has_token`: it is one, and not the environment's key."""

    def __init__(self, house: House, client: AsyncAnthropic, item: BetaSelfHostedWork, *, has_token: bool) -> None:
        self._house = house
        self._client = client
        self._item = item
        self._has_token = has_token
        self._lease = WorkLease(client, item)
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve it; whatever happens, the item is given back, unless it is another worker's by now."""
        beating = asyncio.create_task(self._lease.keep(), name=f"heartbeat of {self._item.id}")
        try:
            session = await self._client.beta.sessions.retrieve(self._item.data.id)
            if session.status != "terminated":
                await self._serve(session)
        finally:
            await asyncio.shield(self._end(beating))

    async def _end(self, beating: asyncio.Task[None]) -> None:
        self._lease.ended.set()
        await beating
        await self._lease.give_back()

    async def _serve(self, session: BetaManagedAgentsSession) -> None:
        workdir = self._house.workdirs.of(session.id)
        owner = await asyncio.to_thread(_prepared, workdir)
        given = workdir.path / f"given-{time.time_ns()}"
        await asyncio.to_thread(given.mkdir, 0o711)
        memories = MemoryFolders(self._client, given / "memories", owner)
        clean = False
        try:
            async with AgentToolContext(workdir=given, client=self._client, session=session):  # it brings the skills
                try:
                    if self._has_token:
                        await memories.download(session)
                    elif any(resource.type == "memory_store" for resource in session.resources):
                        raise RuntimeError("its memory stores cannot be had: the item of work came without a token")
                    await asyncio.to_thread(_give_all, given / "skills", owner)
                    skills = [Folder(given / "skills", SKILLS)] if (given / "skills").is_dir() else []
                    await self._follow(self._spec(session.id, workdir, [*skills, *memories.folders]), memories)
                    clean = not self._lease.lost
                finally:
                    await self._house.fleet.end(session.id)
                    if not self._lease.lost:
                        await memories.close(clean=clean)
        finally:
            await asyncio.to_thread(_remove, given)

    def _spec(self, session_id: str, workdir: Workdir, folders: Sequence[Folder]) -> BoxSpec:
        epoch = time.time_ns() // 1_000_000  # a later worker on the same folder fences this one
        return BoxSpec(session_id, workdir.path, epoch, self._house.limits, self._house.environment, folders=folders)

    async def _follow(self, spec: BoxSpec, memories: MemoryFolders) -> None:
        house, session_id = self._house, spec.session_id
        calls = SessionCalls(house.fleet, house.boxes, spec)

        async def begin(event: Event) -> None:
            answering = self._answer(session_id, calls, memories, event)
            task = asyncio.create_task(answering, name=f"{event.name} {event.id}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)

        following = Following(self._client, session_id, calls.names, begin, idle_s=house.idle_s)
        reading = asyncio.create_task(following.run(), name=f"events of {session_id}")
        ends = [asyncio.create_task(event.wait()) for event in (following.over, self._lease.ended)]
        try:
            await asyncio.wait([reading, *ends], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._wind_up([reading, *ends])
        if not reading.cancelled() and (failed := reading.exception()):
            raise failed

    async def _wind_up(self, watching: Sequence[asyncio.Task[Any]]) -> None:
        """Begin nothing more; calls that run may still end and be answered, unless the lease is over."""
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        if self._running and not self._lease.ended.is_set():
            await asyncio.wait(self._running, timeout=_DRAIN_S)
            self._lease.left = bool(self._running)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _answer(self, session_id: str, calls: SessionCalls, memories: MemoryFolders, event: Event) -> None:
        """The result leaves before memories are carried: whatever becomes of those, the session goes on."""
        outcome = await calls.answer(event.id, event.name, dict(event.input))
        await self._post(session_id, event.id, outcome)
        await memories.sync()

    async def _post(self, session_id: str, call_id: str, outcome: ToolOutcome) -> None:
        """Send it until it has arrived, or the lease is lost: then whoever has it finds the outcome in the journal."""
        result: Any = {
            "type": "user.tool_result",
            "tool_use_id": call_id,
            "content": list(outcome.content),
            "is_error": outcome.is_error,
        }
        while not self._lease.lost:
            try:
                await self._client.beta.sessions.events.send(session_id, events=[result])
                return
            except APIConnectionError:
                log.info("the result of %s could not be sent yet", call_id)
            except APIStatusError as error:
                if error.status_code < 500 and error.status_code not in (408, 429):
                    log.warning("the result of %s was refused: %s", call_id, error)
                    return
            await asyncio.sleep(_PAUSE_S)


def _prepared(workdir: Workdir) -> int | None:
    """The session's folder is there; gives the user of its boxes."""
    owner = user_of(workdir)
    workdir.prepare(owner)
    return owner


def _give_all(skills: Path, owner: int | None) -> None:
    """What was just downloaded, to the user of the box; no box has seen it yet, so nothing in it can be swapped."""
    if owner is None:
        return
    for folder, _, files in os.walk(skills):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            os.chown(path, owner, owner, follow_symlinks=False)


def _remove(given: Path) -> None:
    """What a session was given; its changes were sent, or could not be. Links in it are removed, not followed."""
    shutil.rmtree(given, ignore_errors=True)
