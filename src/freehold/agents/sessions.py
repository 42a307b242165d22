"""Sessions as things: made from an agent and an environment, changed, listed, put away. Their events are `inbox`'s.

It knows no HTTP, and not what an agent may be: a definition comes in complete and checked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from freehold.agents import caps
from freehold.agents.events import Draft, Voice
from freehold.agents.inbox import CheckFiles, knows_no_files, stopped_by_cap
from freehold.agents.incoming import has_files
from freehold.agents.log import inbox, new_event
from freehold.agents.mounts import UPLOADS, memory_paths, mount_path, refuse_clashes
from freehold.agents.repositories import TOKEN, NewRepository, SessionRepositories
from freehold.agents.repositories import TYPE as REPOSITORY
from freehold.agents.session import Json
from freehold.agents.usage import tokens_of
from freehold.calls import Caller
from freehold.clock import Clock, rfc3339
from freehold.errors import InvalidRequest
from freehold.ids import NewId
from freehold.jobs.driver import WAKE
from freehold.store import session_log, work
from freehold.store.agents import AgentRow, read_agent
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.environments import read_environment
from freehold.store.files import FileRow
from freehold.store.memory_stores import MemoryStoreRow, read_memory_store
from freehold.store.sessions import (
    ResourceRow,
    SessionRow,
    SessionRows,
    delete_resource,
    delete_session,
    forget_log,
    insert_resource,
    insert_session,
    read_resource,
    read_resources,
    read_session,
    update_resource,
    update_session,
)
from freehold.store.webhooks import announce
from freehold.store.work import work_key

MOST_RESOURCES = 500
MOST_MEMORY_STORES = 8
MOST_INSTRUCTIONS_CHARS = 4096
_BUSY = ("running", "rescheduling")
Snapshot = Callable[[AgentRow], Json]
"""From the version of an agent that was asked for to the definition that the session keeps."""


class SessionFiles(Protocol):
    """The files of a session, as far as it makes and ends them."""

    async def copy_for_session(self, workspace_id: str, file_id: str, session_id: str) -> FileRow:
        """A copy of a file that belongs to the session. Raises `NotFound`."""
        ...

    async def delete(self, workspace_id: str, file_id: str) -> None:
        """Delete a file."""
        ...

    async def forget_session(self, workspace_id: str, session_id: str) -> None:
        """Delete every file of a session."""
        ...


Close = Callable[[str], Awaitable[None]]
"""Closes the box of a session, by its id."""
Pin = Callable[[str, Sequence[Mapping[str, str]]], Awaitable[list[dict[str, str]]]]
"""From the skills of an agent of that workspace to the same with the versions that they mean now. Raises `NotFound`."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that a session is given: the original, and where its copy is to be seen (`None`: by its id)."""

    file_id: str
    mount_path: str | None


@dataclass(frozen=True, slots=True)
class NewMemory:
    """A memory store that a session is given."""

    store_id: str
    read_only: bool = False
    instructions: str | None = None


@dataclass(frozen=True, slots=True)
class NewSession:
    """What a session is made of."""

    agent_id: str
    agent_version: int | None
    snapshot: Snapshot
    environment_id: str
    title: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[NewFile] = ()
    memories: Sequence[NewMemory] = ()
    repositories: Sequence[NewRepository] = ()
    messages: Sequence[Json] = ()
    """The fields of `user.message` events to begin with; without any it starts idle."""
    cap_cents: int | None = None
    """The most that it may cost."""


@dataclass(frozen=True, slots=True)
class Update:
    """What a request changes; `None` leaves a part as it is."""

    title: tuple[str | None] | None = None
    """In a tuple, because a title may be set to nothing."""
    metadata: Callable[[Mapping[str, str]], dict[str, str]] | None = None
    agent: Callable[[Json], Json] | None = None
    cap_cents: tuple[int | None] | None = None
    """In a tuple, because a cap may be taken away."""


class Sessions:
    """Sessions of all workspaces; every call names the one that it may see, or its caller."""

    def __init__(
        self,
        store: Store,
        files: SessionFiles,
        *,
        clock: Clock,
        ids: NewId,
        close_box: Close,
        remove_workdir: Close,
        pin: Pin | None = None,
        check_files: CheckFiles = knows_no_files,
        priced: caps.Priced = lambda _: True,
        repositories: SessionRepositories | None = None,
    ) -> None:
        """`priced`: which models a session with a cap may have."""
        self.rows = SessionRows(store)
        self._store = store
        self._files = files
        self._clock = clock
        self._ids = ids
        self._close_box = close_box
        self._remove_workdir = remove_workdir
        self._pin = pin
        self._check_files = check_files
        self._priced = priced
        self._repositories = repositories

    async def create(self, caller: Caller, new: NewSession) -> tuple[SessionRow, list[ResourceRow]]:
        """Make it.

        Raises:
            NotFound: no such agent, version, environment, file, skill or memory store.
            InvalidRequest: agent or environment are archived, a mount path will not do, or the model has no price.
        """
        session_id = self._ids("sesn")
        if with_files := [fields for fields in new.messages if has_files(fields)]:
            await self._check_files(caller.workspace_id, with_files)
        async with self._store.read() as connection:  # refuse before files are copied
            agent, environment = await self._snapshots(connection, caller.workspace_id, new)
            if new.files or new.repositories:
                _refuse_files_elsewhere(environment, "resources")
            if new.cap_cents is not None:
                caps.refuse_unpriced(agent["model"]["id"], self._priced)
            memories = await self._attached(connection, caller.workspace_id, new.memories)
        if self._pin is not None and agent["skills"]:
            new = _pinned(new, agent["version"], await self._pin(caller.workspace_id, agent["skills"]))
        try:
            clones = await self._clones(caller.workspace_id, session_id, new.repositories)
            resources = [*memories, *clones, *await self._copies(caller.workspace_id, session_id, new.files)]
            return await self._insert(caller, session_id, new, resources), resources
        except BaseException:
            await self._forget(caller.workspace_id, session_id)
            raise

    async def update(self, workspace_id: str, session_id: str, change: Update) -> SessionRow:
        """Change what differs, and say so in the log. A session that its cap has stopped goes on if that is raised.

        Raises:
            NotFound: no such session.
            InvalidRequest: it has ended, it works and its agent is to change, or the cap will not do.
        """
        now_us = self._clock.now_us()

        async def op(connection: Connection) -> SessionRow:
            row = await read_session(connection, workspace_id, session_id, lock=True)
            _refuse_ended(row)
            changes = _changes(row, change, self._priced)
            if changes:
                await update_session(connection, session_id, {**changes, "updated_us": now_us})
                drafts = [self._voice(row).event("session.updated", _told(changes))]
                goes_on = "cap_cents" in changes and await stopped_by_cap(connection, row)
                if goes_on:
                    await self._call_worker(connection, row, now_us)
                values: dict[str, str | int | None] = {"status": "running"} if goes_on else {}
                drafts += self._voice(row).running() if goes_on else []
                await self._append(connection, row, drafts, now_us, values)
            return await read_session(connection, workspace_id, session_id)

        return await self._store.write(op, wake=[session_id, inbox(session_id), WAKE])

    async def archive(self, workspace_id: str, session_id: str) -> SessionRow:
        """End it for good; what it was stays to be read. Once archived it stays as it was.

        Raises:
            NotFound: no such session.
            InvalidRequest: it works.
        """
        now_us = self._clock.now_us()

        async def op(connection: Connection) -> SessionRow:
            row = await read_session(connection, workspace_id, session_id, lock=True)
            if row.archived_us is None:
                _refuse_busy(row, "archived")
                ended: dict[str, str | int | None] = {"status": "terminated", "archived_us": now_us}
                await self._append(connection, row, self._voice(row).terminated(), now_us, ended)
                await work.end_session(connection, session_id, now_us, deleted=False)
                await announce(connection, workspace_id, "session.archived", session_id, now_us=now_us)
            return await read_session(connection, workspace_id, session_id)

        row = await self._store.write(op, wake=[session_id])
        await self._close_box(session_id)
        return row

    async def delete(self, workspace_id: str, session_id: str) -> None:
        """Delete it with its log, files and workspace; streams of it end. A log goes a slice at a time, and so that
        nobody goes on with half of it the session is archived before.

        Raises:
            NotFound: no such session.
            InvalidRequest: it works.
        """

        async def end(connection: Connection) -> None:
            row = await read_session(connection, workspace_id, session_id, lock=True)
            _refuse_busy(row, "deleted")
            archived = {"status": "terminated", "archived_us": row.archived_us or self._clock.now_us()}
            await update_session(connection, session_id, archived)

        async def op(connection: Connection) -> None:
            _refuse_busy(await read_session(connection, workspace_id, session_id, lock=True), "deleted")
            await delete_session(connection, session_id)
            await work.end_session(connection, session_id, self._clock.now_us(), deleted=True)
            await announce(connection, workspace_id, "session.deleted", session_id, now_us=self._clock.now_us())

        await self._store.write(end)
        await forget_log(self._store, session_id)
        await self._store.write(op, wake=[session_id, inbox(session_id)])
        await self._close_box(session_id)
        await self._forget(workspace_id, session_id)
        await self._remove_workdir(session_id)

    async def change_token(self, workspace_id: str, session_id: str, resource_id: str, token: str) -> ResourceRow:
        """Another token for a repository that is not cloned yet.

        Raises:
            NotFound: no such session or resource.
            InvalidRequest: the session has ended, the resource has no token, or that is none.
        """
        async with self._store.read() as connection:
            _refuse_ended(await read_session(connection, workspace_id, session_id))
            row = await read_resource(connection, session_id, resource_id)
        if self._repositories is None or row.type != REPOSITORY:
            raise InvalidRequest(
                f"authorization_token: only a github_repository has one, and this resource is a {row.type}."
            )
        changed = await self._repositories.with_token(workspace_id, session_id, row, token)
        await self._store.write(lambda connection: update_resource(connection, session_id, changed))
        return changed

    async def add_file(self, workspace_id: str, session_id: str, new: NewFile) -> ResourceRow:
        """Give the session a copy of a file.

        Raises:
            NotFound: no such session or file.
            InvalidRequest: it has ended, has too many, or the mount path will not do.
        """
        row = await self.rows.get(workspace_id, session_id)
        _refuse_ended(row)
        _refuse_files_elsewhere(row.environment_config, "type")
        resource = await self._copy(workspace_id, session_id, new)

        async def op(connection: Connection) -> None:
            _refuse_ended(await read_session(connection, workspace_id, session_id, lock=True))
            others = await read_resources(connection, session_id)
            if len(others) >= MOST_RESOURCES:
                raise InvalidRequest(f"A session takes at most {MOST_RESOURCES} resources.")
            refuse_clashes([*(other.body["mount_path"] for other in others), resource.body["mount_path"]])
            await insert_resource(connection, session_id, resource)

        try:
            await self._store.write(op, wake=[inbox(session_id)])
        except BaseException:
            await self._files.delete(workspace_id, resource.body["file_id"])
            raise
        return resource

    async def remove_resource(self, workspace_id: str, session_id: str, resource_id: str) -> None:
        """Take a resource away; a file that tools have already seen stays in the workspace of the session."""

        async def op(connection: Connection) -> ResourceRow:
            _refuse_ended(await read_session(connection, workspace_id, session_id, lock=True))
            row = await read_resource(connection, session_id, resource_id)
            if row.type != "file":
                raise InvalidRequest(f"{resource_id} is a {row.type}; a session keeps those it was created with.")
            await delete_resource(connection, session_id, resource_id)
            return row

        row = await self._store.write(op, wake=[inbox(session_id)])
        await self._files.delete(workspace_id, row.body["file_id"])

    async def _insert(
        self, caller: Caller, session_id: str, new: NewSession, resources: Sequence[ResourceRow]
    ) -> SessionRow:
        now_us = self._clock.now_us()
        thread_id = self._ids("sthr")

        async def op(connection: Connection) -> SessionRow:
            agent, environment = await self._snapshots(connection, caller.workspace_id, new)
            row = SessionRow(
                id=session_id,
                workspace_id=caller.workspace_id,
                key_id=caller.key_id,
                agent_id=new.agent_id,
                agent_version=agent["version"],
                environment_id=new.environment_id,
                agent=agent,
                environment_config=environment,
                title=new.title,
                metadata=dict(new.metadata),
                thread_id=thread_id,
                usage={},
                cap_cents=new.cap_cents,
                status="idle",
                epoch=0,
                last_seq=0,
                created_us=now_us,
                updated_us=now_us,
                archived_us=None,
            )
            await insert_session(connection, row)
            await announce(connection, caller.workspace_id, "session.created", session_id, now_us=now_us)
            for resource in resources:
                await insert_resource(connection, session_id, resource)
            if new.messages:
                await self._begin(connection, row, new.messages, now_us)
            return await read_session(connection, caller.workspace_id, session_id)

        return await self._store.write(op, wake=[WAKE, work_key(new.environment_id)] if new.messages else [])

    async def _snapshots(self, connection: Connection, workspace_id: str, new: NewSession) -> tuple[Json, Json]:
        agent = await read_agent(connection, workspace_id, new.agent_id, new.agent_version)
        if agent.archived_us is not None:
            raise InvalidRequest(f"agent: {new.agent_id} is archived and takes no new sessions.")
        environment = await read_environment(connection, workspace_id, new.environment_id)
        if environment.archived_us is not None:
            raise InvalidRequest(
                f"environment_id: {new.environment_id} is archived and takes no new sessions.",
                details={"error_code": "environment_archived"},
            )
        return new.snapshot(agent), environment.body["config"]

    async def _begin(self, connection: Connection, row: SessionRow, messages: Sequence[Json], now_us: int) -> None:
        drafts = [Draft(self._ids("sevt"), "user.message", fields) for fields in messages]
        running = [*drafts, *self._voice(row).running()]
        await self._append(connection, row, running, now_us, {"status": "running"})
        await self._call_worker(connection, row, now_us)

    async def _call_worker(self, connection: Connection, row: SessionRow, now_us: int) -> None:
        """A session of a self-hosted environment begins to run: it is to have a worker."""
        if row.environment_config["type"] == "self_hosted":
            await work.ensure(connection, work.new_item(self._ids("work"), row, now_us))

    async def _append(
        self,
        connection: Connection,
        row: SessionRow,
        drafts: Sequence[Draft],
        now_us: int,
        values: Mapping[str, str | int | None],
    ) -> None:
        events = [new_event(draft, now_us) for draft in drafts]
        await session_log.append(connection, row.id, events, now_us=now_us, values=values)

    async def _attached(
        self, connection: Connection, workspace_id: str, wanted: Sequence[NewMemory]
    ) -> list[ResourceRow]:
        if len(wanted) > MOST_MEMORY_STORES:
            raise InvalidRequest(f"resources: {len(wanted)} memory stores, at most {MOST_MEMORY_STORES} are taken.")
        if len({new.store_id for new in wanted}) < len(wanted):
            raise InvalidRequest("resources: a memory store stands there twice.")
        stores = [await read_memory_store(connection, workspace_id, new.store_id) for new in wanted]
        paths = memory_paths([store.name for store in stores])
        return [self._memory(*one) for one in zip(wanted, stores, paths, strict=True)]

    def _memory(self, new: NewMemory, store: MemoryStoreRow, path: str) -> ResourceRow:
        """Name and description stay what they are now (SDK `beta_managed_agents_memory_store_resource.py`)."""
        if store.archived_us is not None and not new.read_only:
            raise InvalidRequest(f"resources: {store.id} is archived; attach it with access read_only.")
        now_us = self._clock.now_us()
        body = {
            "memory_store_id": store.id,
            "access": "read_only" if new.read_only else "read_write",
            "name": store.name,
            "description": store.description,
            "instructions": new.instructions,
            "mount_path": path,
        }
        return ResourceRow(self._ids("sesrsc"), "memory_store", body, now_us, now_us)

    async def _clones(self, workspace_id: str, session_id: str, wanted: Sequence[NewRepository]) -> list[ResourceRow]:
        if not wanted:
            return []
        if self._repositories is None:
            raise InvalidRequest("resources: this server clones no repositories.")
        return await self._repositories.made(workspace_id, session_id, wanted)

    async def _forget(self, workspace_id: str, session_id: str) -> None:
        await self._files.forget_session(workspace_id, session_id)
        if self._repositories is not None:
            await self._repositories.forget(workspace_id, session_id)

    async def _copies(self, workspace_id: str, session_id: str, files: Sequence[NewFile]) -> list[ResourceRow]:
        if len(files) > MOST_RESOURCES:
            raise InvalidRequest(f"resources: {len(files)} resources, at most {MOST_RESOURCES} are taken.")
        refuse_clashes([_path(new) for new in files])
        return [await self._copy(workspace_id, session_id, new) for new in files]

    async def _copy(self, workspace_id: str, session_id: str, new: NewFile) -> ResourceRow:
        path = _path(new)
        copy = await self._files.copy_for_session(workspace_id, new.file_id, session_id)
        now_us = self._clock.now_us()
        return ResourceRow(self._ids("sesrsc"), "file", {"file_id": copy.id, "mount_path": path}, now_us, now_us)

    def _voice(self, row: SessionRow) -> Voice:
        return Voice(self._ids, row.thread_id, row.agent["name"])


def _path(new: NewFile) -> str:
    return mount_path(f"{UPLOADS}/{new.file_id}" if new.mount_path is None else new.mount_path)


def _pinned(new: NewSession, version: int, skills: list[dict[str, str]]) -> NewSession:
    """The same session of that very version of the agent, with those skills."""

    def snapshot(row: AgentRow) -> Json:
        return {**new.snapshot(row), "skills": skills}

    return replace(new, agent_version=version, snapshot=snapshot)


def shown_resource(row: ResourceRow) -> Json:
    """A resource as the API shows it; memory stores have neither id nor times there, and a token is never shown."""
    if row.type == "memory_store":
        return {"type": row.type, **row.body}
    times = {"created_at": rfc3339(row.created_us), "updated_at": rfc3339(row.updated_us)}
    body = {name: value for name, value in row.body.items() if name != TOKEN}
    return {"id": row.id, "type": row.type, **body, **times}


def _told(changes: Mapping[str, Any]) -> Json:
    """Changed columns as the event shows them."""
    told = {key: value for key, value in changes.items() if (key, value) != ("metadata", {})}
    if "cap_cents" in told:
        told["budget"] = caps.shown(told.pop("cap_cents"))
    return told


def _changes(row: SessionRow, change: Update, priced: caps.Priced) -> dict[str, Any]:
    """The columns that differ."""
    changes: dict[str, Any] = {}
    if change.title is not None and change.title[0] != row.title:
        changes["title"] = change.title[0]
    if change.metadata is not None and (metadata := change.metadata(row.metadata)) != row.metadata:
        changes["metadata"] = metadata
    if change.agent is not None:
        if row.status in _BUSY:
            raise InvalidRequest(f"agent: {row.id} is {row.status}; its tools can be changed while it is idle.")
        if (agent := change.agent(row.agent)) != row.agent:
            changes["agent"] = agent
    if change.cap_cents is not None:
        used, model = tokens_of(row.usage), row.agent["model"]["id"]
        cap_cents = caps.changed(row.cap_cents, change.cap_cents[0], used, model, priced)
        if cap_cents != row.cap_cents:
            changes["cap_cents"] = cap_cents
    return changes


def _refuse_files_elsewhere(environment: Mapping[str, Any], place: str) -> None:
    if environment["type"] == "self_hosted":
        raise InvalidRequest(
            f"{place}: a session of a self-hosted environment is given memory stores and nothing else; its files are "
            "on the machine of its worker."
        )


def _refuse_ended(row: SessionRow) -> None:
    if row.archived_us is not None or row.status == "terminated":
        raise InvalidRequest(f"The session {row.id} has ended and cannot be changed. Create a new one.")


def _refuse_busy(row: SessionRow, what: str) -> None:
    if row.status in _BUSY:
        raise InvalidRequest(
            f"The session {row.id} is {row.status} and cannot be {what}. Send a user.interrupt and wait until it is "
            "idle."
        )
