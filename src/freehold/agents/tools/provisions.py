"""What sessions have in their boxes besides files: skills, read-only, and memory stores, brought up to date.

A store is synced before the first tool of a turn, after each turn, and after a tool when somebody else has written to
it meanwhile: so what a tool did in ignorance of that is found as a conflict, and both versions stay. Whatever the agent
must know of a sync is told with the next result. It knows neither the log nor the model.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from freehold.agents.mounts import SKILLS
from freehold.agents.repositories import TYPE as REPOSITORY
from freehold.agents.request import Given, MemoryGiven, RepositoryGiven, SkillGiven
from freehold.agents.tools.execution import Place
from freehold.environments.base import Folder
from freehold.environments.users import user_of
from freehold.environments.workdirs import Workdir, Workdirs, make_folder
from freehold.errors import FreeholdError, NotFound
from freehold.library.memories import Memories
from freehold.library.memory_folder import MemoryFolder, Synced
from freehold.library.memory_folder import Place as Mounted
from freehold.library.skills import LaidOut, Skills
from freehold.store.memories import Actor, changes
from freehold.store.sessions import ResourceRow, SessionRows

log = logging.getLogger(__name__)

_SKILLS_OF_WORKERS = "skills"
"""Where the SDKs' workers put them, from their working directory (SDK `lib/tools/_skills.py`)."""
_NAMED = 10
"""Paths that one note names; the folder shows the rest."""


@dataclass(slots=True)
class _Store:
    """One store of one session."""

    resource: Mapping[str, Any]
    folder: MemoryFolder
    begun: bool
    """It was synced before, by whatever server."""
    seen: int = -1
    """The version of the store's changes at the last sync here; only compared."""


@dataclass(slots=True)
class Provided:
    """What one session has."""

    folders: Sequence[Folder]
    given: Given
    stores: Sequence[_Store]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    running: int = 0
    """Tools that run now."""
    fresh: bool = False
    """The stores were synced in this turn."""
    notes: list[str] = field(default_factory=list)
    """For the agent, not told yet."""


class Provisions:
    """Those of all sessions that this server works on. `version`: of a key of the store's wakes."""

    def __init__(
        self,
        rows: SessionRows,
        skills: Skills,
        memories: Memories,
        workdirs: Workdirs,
        version: Callable[[str], int],
    ) -> None:
        self._rows = rows
        self._skills = skills
        self._memories = memories
        self._workdirs = workdirs
        self._version = version
        self._known: dict[str, asyncio.Task[Provided]] = {}

    async def given(self, place: Place) -> Given:
        """As the model is told of it."""
        return (await self._provided(place)).given

    @asynccontextmanager
    async def used(self, place: Place) -> AsyncIterator[Provided]:
        """While a tool runs. The stores are as they are known here, up to date when a turn has just begun."""
        provided = await self._provided(place)
        async with provided.lock:
            if not provided.fresh:
                await self._sync(provided)
                provided.fresh = True
            provided.running += 1
        try:
            yield provided
        finally:
            provided.running -= 1

    async def folders(self, place: Place) -> Sequence[Folder] | None:
        """What a box of it mounts; `None` while some of that is not there yet and comes with the first tool."""
        found = (await self._provided(place)).folders
        return found if await asyncio.to_thread(lambda: all(one.source.is_dir() for one in found)) else None

    async def news(self, place: Place) -> list[str]:
        """After a tool: sync what others have written to, unless another tool runs; what the agent must be told."""
        provided = await self._provided(place)
        if not provided.stores:
            return []
        async with provided.lock:
            if not provided.running and any(self._changed(store) for store in provided.stores):
                await self._sync(provided)
            told, provided.notes = provided.notes, []
        return told

    async def settle(self, place: Place) -> None:
        """After a turn: what the agent has written goes to the stores."""
        provided = await self._provided(place)
        async with provided.lock:
            await self._sync(provided)
            provided.fresh = False

    def forget(self, session_id: str) -> None:
        """The session was deleted."""
        self._known.pop(session_id, None)

    async def _provided(self, place: Place) -> Provided:
        """Made once; skills and stores of a session never change. One that failed is tried again."""
        task = self._known.get(place.session_id)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._known[place.session_id] = asyncio.create_task(self._make(place), name="what a session has")
        return await asyncio.shield(task)

    async def _make(self, place: Place) -> Provided:
        resources = (await self._rows.resources([place.session_id]))[place.session_id]
        bodies = [resource.body for resource in resources if resource.type == "memory_store"]
        if place.environment["type"] == "self_hosted":  # its worker fetches them
            return Provided([], _given(await self._laid_out(place), bodies, _SKILLS_OF_WORKERS), [])
        workdir = self._workdirs.of(place.session_id)
        skills = await self._laid_out(place)
        folders = await asyncio.to_thread(_skill_folders, workdir, skills) if skills else []
        owner = await asyncio.to_thread(_owner, workdir) if bodies else None
        stores = [self._store(place, workdir, body, owner) for body in bodies]
        folders += [Folder(_folder(workdir, body), body["mount_path"], not _read_only(body)) for body in bodies]
        return Provided(folders, _given(skills, bodies, SKILLS, resources), stores)

    async def _laid_out(self, place: Place) -> dict[str, LaidOut]:
        """By the name of the folder. A skill that was deleted since the session began is left out."""
        found: dict[str, LaidOut] = {}
        for skill in place.skills:
            try:
                laid = await self._skills.laid_out(place.workspace_id, skill["skill_id"], skill["version"])
            except NotFound as error:
                log.warning("%s goes on without one of its skills: %s", place.session_id, error.message)
                continue
            name = laid.name if laid.name not in found else f"{laid.name}-{len(found) + 1}"
            found[name] = laid
        return found

    def _store(self, place: Place, workdir: Workdir, body: Mapping[str, Any], owner: tuple[int, int] | None) -> _Store:
        store_id = body["memory_store_id"]
        state = workdir.path / f"{store_id}.json"
        mounted = Mounted(
            place.workspace_id,
            store_id,
            _folder(workdir, body),
            state,
            Actor("session_actor", place.session_id),
            _read_only(body),
            owner,
        )
        return _Store(body, MemoryFolder(self._memories, mounted), state.exists())

    def _changed(self, store: _Store) -> bool:
        return self._version(changes(store.resource["memory_store_id"])) != store.seen

    async def _sync(self, provided: Provided) -> None:
        """All stores; under the lock. What fails is told and does not harm the others."""
        for store in provided.stores:
            version = self._version(changes(store.resource["memory_store_id"]))
            path = store.resource["mount_path"]
            try:
                done = await store.folder.sync()
            except (FreeholdError, OSError) as error:
                reason = error.message if isinstance(error, FreeholdError) else error.strerror
                log.warning("the memory store at %s was not synced: %s", path, reason)
                provided.notes.append(f"[{path} could not be brought up to date: {reason}]")
                continue
            provided.notes += _notes(path, done, first=not store.begun)
            store.seen, store.begun = version, True


def _notes(path: str, done: Synced, *, first: bool) -> list[str]:
    notes = []
    if done.pulled and not first:
        notes.append(
            f"[Another session has changed these since you last looked; read them again before you rely on them: "
            f"{_listed(path, done.pulled)}. What stood there before is kept in the history of the store.]"
        )
    for where, aside in done.conflicts.items():
        notes.append(
            f"[{path}{where} was changed by another session too. Its version is there now; yours is kept as "
            f"{path}{aside}. Bring the two together and delete the second.]"
        )
    notes += [f"[{path}{where} was not kept: {why}]" for where, why in list(done.refused.items())[:_NAMED]]
    return notes


def _listed(path: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(path + name for name in names[:_NAMED]) + more


def _given(
    skills: Mapping[str, LaidOut],
    bodies: Sequence[Mapping[str, Any]],
    above: str,
    resources: Sequence[ResourceRow] = (),
) -> Given:
    return Given(
        [SkillGiven(skill.name, skill.description, f"{above}/{name}") for name, skill in skills.items()],
        [_told(body) for body in bodies],
        [_repository(resource.body) for resource in resources if resource.type == REPOSITORY],
    )


def _told(body: Mapping[str, Any]) -> MemoryGiven:
    return MemoryGiven(body["mount_path"], body["description"], body["instructions"], _read_only(body))


def _repository(body: Mapping[str, Any]) -> RepositoryGiven:
    checkout = body["checkout"] or {}
    named = f"branch {checkout['name']}" if "name" in checkout else f"commit {checkout['sha']}" if checkout else None
    return RepositoryGiven(body["mount_path"], body["url"], named)


def _read_only(body: Mapping[str, Any]) -> bool:
    return bool(body["access"] == "read_only")


def _folder(workdir: Workdir, body: Mapping[str, Any]) -> Any:
    return workdir.path / "memory" / body["mount_path"].rpartition("/")[2]


def _owner(workdir: Workdir) -> tuple[int, int] | None:
    workdir.make()
    make_folder(workdir.path / "memory", 0o711)
    user = user_of(workdir)
    return None if user is None else (user, user)


def _skill_folders(workdir: Workdir, skills: Mapping[str, LaidOut]) -> list[Folder]:
    """Each skill, in a folder of the server's own: an agent cannot put a link where one will be mounted."""
    workdir.make()
    above = workdir.path / "skills"
    for name in skills:
        make_folder(above / name, 0o755)
    in_the_way = workdir.workspace / SKILLS.rpartition("/")[2]
    if in_the_way.is_symlink() or in_the_way.is_file():
        with contextlib.suppress(OSError):
            in_the_way.rename(in_the_way.with_name("skills~"))
    return [Folder(above, SKILLS), *(Folder(laid.folder, f"{SKILLS}/{name}") for name, laid in skills.items())]
