"""Forks of sessions: a new one whose log and files are those of another as it came to rest; and its files over time.

Only a rest can be forked: the end of a turn, where nothing runs and nobody is waited for. It knows no HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Protocol

import msgspec

from freehold.calls import Caller
from freehold.clock import Clock
from freehold.environments.base import BoxFailed
from freehold.environments.history import History
from freehold.environments.site import host_of
from freehold.environments.snapshots import NOTHING, Change
from freehold.environments.workdirs import Workdir, Workdirs
from freehold.errors import Conflict, FreeholdError, InvalidRequest
from freehold.ids import NewId
from freehold.store import session_log
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.files import FileRow
from freehold.store.forks import copy_log
from freehold.store.session_log import Event, Place
from freehold.store.sessions import (
    ResourceRow,
    SessionRow,
    insert_resource,
    insert_session,
    read_resources,
    read_session,
    update_session,
)
from freehold.store.webhooks import announce

_IDLE = "session.status_idle"
_BOX_USE = "agent.tool_use"
_BUSY = ("running", "rescheduling")
_READ_AT_ONCE = 200


class CopiesFiles(Protocol):
    """The files of sessions, as far as a fork needs them."""

    async def copy_for_session(self, workspace_id: str, file_id: str, session_id: str) -> FileRow:
        """A copy of a file that belongs to the session. Raises `NotFound`."""
        ...

    async def forget_session(self, workspace_id: str, session_id: str) -> None:
        """Delete every file of a session."""
        ...


@dataclass(frozen=True, slots=True)
class Point:
    """A rest of a session: the event of it, and the snapshot of the files then; `None`: there were none yet."""

    event_id: str
    seq: int
    snapshot: str | None
    at_us: int


class Forks:
    """Forks, and the files of sessions as they are and were; every call names the workspace that it may see."""

    def __init__(
        self,
        store: Store,
        files: CopiesFiles,
        history: History,
        workdirs: Workdirs,
        *,
        close_box: Callable[[str], Awaitable[None]],
        clock: Clock,
        ids: NewId,
        site: str | None = None,
    ) -> None:
        """`site`: where the files are that can be reached from here."""
        self._store = store
        self._files = files
        self._history = history
        self._workdirs = workdirs
        self._close_box = close_box
        self._clock = clock
        self._ids = ids
        self._site = site

    async def points(self, workspace_id: str, session_id: str) -> list[Point]:
        """Where that session can be forked, oldest first.

        Raises:
            NotFound: no such session.
        """
        async with self._store.read() as connection:
            row = self._reached(await read_session(connection, workspace_id, session_id))
        taken = {rest.seq: rest.snapshot for rest in await self._history.rests(self._workdirs.of(session_id))}
        rests = deque(sorted(taken.items()))
        found: list[Point] = []
        snapshot: str | None = None
        known = True
        async for event in self._turning(row.id):
            assert event.seq is not None and event.processed_us is not None
            while rests and rests[0][0] < event.seq:
                snapshot, known = rests.popleft()[1], True
            if event.type == _BOX_USE:
                snapshot, known = None, False  # what the files are now, the next rest will tell
            if rests and rests[0][0] == event.seq:
                snapshot, known = rests.popleft()[1], True
            if event.type == _IDLE and known and _at_rest(event):
                found.append(Point(event.id, event.seq, snapshot, event.processed_us))
        return found

    async def _turning(self, session_id: str) -> AsyncIterator[Event]:
        """The events of a log after which the files may be others, and those where it rests; a part at a time."""
        at = Place(False, 0)
        while True:
            async with self._store.read() as connection:
                events = await session_log.page(
                    connection, session_id, limit=_READ_AT_ONCE, behind=at, types=(_BOX_USE, _IDLE)
                )
            for event in events:
                yield event
            if len(events) < _READ_AT_ONCE:
                return
            at = events[-1].place

    async def point(self, workspace_id: str, session_id: str, event_id: str | None) -> Point:
        """The rest of that event, or the latest.

        Raises:
            NotFound: no such session or event.
            InvalidRequest: there was no rest then, or its files are not kept; the nearest that can be had is named.
        """
        points = await self.points(workspace_id, session_id)
        if event_id is None and points:
            return points[-1]
        for point in points:
            if point.event_id == event_id:
                return point
        if event_id is None:
            raise InvalidRequest(f"{session_id} has no rest yet whose files are kept; wait until it is idle.")
        async with self._store.read() as connection:
            event = await session_log.event(connection, session_id, event_id)
        if event is None or event.seq is None:
            raise InvalidRequest(f"event_id: the log of {session_id} has no event {event_id!r}.")
        where = "event_id: no state of the files is kept that fits this event; only the end of a turn can be taken"
        if not points:
            raise InvalidRequest(f"{where}, and none is kept of this session.")
        seq = event.seq
        nearest = min(points, key=lambda point: abs(point.seq - seq))
        raise InvalidRequest(f"{where}. The nearest is {nearest.event_id}.")

    async def fork(self, caller: Caller, session_id: str, event_id: str | None, title: str | None) -> SessionRow:
        """A new session with the agent, environment, log and files of that one at that rest (`None`: the latest).

        Its budget goes along, and its usage goes on from there.

        Raises:
            NotFound: no such session.
            InvalidRequest: as `point`.
            Unavailable: the files could not be restored; there is no fork then.
        """
        point = await self.point(caller.workspace_id, session_id, event_id)
        fork_id = self._ids("sesn")
        target = self._workdirs.of(fork_id)
        try:
            if point.snapshot is not None:
                await self._restore(self._workdirs.of(session_id), point, target)
            resources = await self._resources(caller.workspace_id, session_id, fork_id)
            return await self._insert(caller, session_id, fork_id, point, resources, title)
        except BaseException:
            await self._files.forget_session(caller.workspace_id, fork_id)
            await asyncio.to_thread(target.delete)
            raise

    async def diff(self, workspace_id: str, session_id: str, before: str | None, after: str | None) -> Sequence[Change]:
        """What the files differ in between two rests; `before`: `None` is the latest, `after`: `None` is now.

        Raises:
            NotFound: no such session.
            InvalidRequest: as `point`.
        """
        old = await self.point(workspace_id, session_id, before)
        new = None if after is None else await self.point(workspace_id, session_id, after)
        workdir, later = self._workdirs.of(session_id), None if new is None else new.snapshot or NOTHING
        with _told():
            return await self._history.snapshots.diff(workdir, old.snapshot or NOTHING, later)

    async def export(self, workspace_id: str, session_id: str, event_id: str | None) -> IO[bytes]:
        """The files as they are now, or were at a rest, as a `tar.zst` that has no name and goes when it is closed.

        Raises:
            NotFound: no such session.
            InvalidRequest: as `point`.
        """
        row = await self._row(workspace_id, session_id)
        workdir = self._workdirs.of(row.id)
        if event_id is None:
            return await self._packed(workdir)
        point = await self.point(workspace_id, session_id, event_id)
        async with self._scratch() as scratch:
            if point.snapshot is not None:
                with _told():
                    await self._history.snapshots.restore(workdir, point.snapshot, scratch)
            return await self._packed(scratch)

    async def take_in(self, workspace_id: str, session_id: str, archive: Path) -> None:
        """Make the files of an idle session those of the archive; its box is closed.

        Raises:
            NotFound: no such session.
            Conflict: it works.
            InvalidRequest: see `Snapshots.import_archive`.
        """
        row = await self._row(workspace_id, session_id)
        if row.archived_us is not None:
            raise InvalidRequest(f"The session {session_id} has ended and cannot be changed.")
        if row.status in _BUSY:
            raise Conflict(f"The session {session_id} is {row.status}; wait until it is idle.")
        await self._close_box(session_id)
        workdir = self._workdirs.of(session_id)
        with _told():
            await self._history.snapshots.import_archive(workdir, archive)
            await self._history.keep(workdir, row.last_seq)
        site = self._site

        async def op(connection: Connection) -> None:
            await update_session(connection, session_id, {"files_at": site})

        await self._store.write(op)

    async def _row(self, workspace_id: str, session_id: str) -> SessionRow:
        async with self._store.read() as connection:
            return self._reached(await read_session(connection, workspace_id, session_id))

    def _reached(self, row: SessionRow) -> SessionRow:
        """The session, if its files can be reached from here. Raises `InvalidRequest`."""
        if row.environment_config["type"] == "self_hosted":
            raise InvalidRequest(f"{row.id} works on the machine of its environment's worker; its files are not here.")
        if row.files_at is not None and self._site is not None and row.files_at != self._site:
            raise InvalidRequest(f"The files of {row.id} are on {host_of(row.files_at)}; ask a server there.")
        return row

    async def _packed(self, workdir: Workdir) -> IO[bytes]:
        archive = self._workdirs.root / f".{self._ids('export')}.tar.zst"
        try:
            with _told():
                await self._history.snapshots.export(workdir, archive)
            return await asyncio.to_thread(archive.open, "rb")
        finally:
            await asyncio.to_thread(archive.unlink, missing_ok=True)

    @contextlib.asynccontextmanager
    async def _scratch(self) -> AsyncIterator[Workdir]:
        scratch = self._workdirs.of(self._ids("sesn"))
        try:
            yield scratch
        finally:
            await asyncio.to_thread(scratch.delete)

    async def _restore(self, source: Workdir, point: Point, target: Workdir) -> None:
        assert point.snapshot is not None
        with _told():
            await self._history.snapshots.restore(source, point.snapshot, target)
            await self._history.keep(target, point.seq)
        await asyncio.to_thread(target.remember, epoch=0)  # the model is told that the shell it knew is gone

    async def _resources(self, workspace_id: str, session_id: str, fork_id: str) -> list[ResourceRow]:
        async with self._store.read() as connection:
            resources = await read_resources(connection, session_id)
        return [await self._copy(workspace_id, fork_id, resource) for resource in resources]

    async def _copy(self, workspace_id: str, fork_id: str, resource: ResourceRow) -> ResourceRow:
        copied = replace(resource, id=self._ids("sesrsc"))
        if resource.type != "file":
            return copied
        file = await self._files.copy_for_session(workspace_id, resource.body["file_id"], fork_id)
        return replace(copied, body={**resource.body, "file_id": file.id})

    async def _insert(
        self,
        caller: Caller,
        session_id: str,
        fork_id: str,
        point: Point,
        resources: Sequence[ResourceRow],
        title: str | None,
    ) -> SessionRow:
        now_us, thread_id = self._clock.now_us(), self._ids("sthr")

        async def op(connection: Connection) -> SessionRow:
            source = await read_session(connection, caller.workspace_id, session_id)
            row = replace(
                source,
                id=fork_id,
                key_id=caller.key_id,
                title=source.title if title is None else title,
                thread_id=thread_id,
                status="idle",
                epoch=0,
                last_seq=0,
                created_us=now_us,
                updated_us=now_us,
                archived_us=None,
            )
            await insert_session(connection, row)
            names = {session_id: fork_id, source.thread_id: thread_id}
            await copy_log(connection, session_id, fork_id, until=point.seq, ids=self._ids, names=names)
            for resource in resources:
                await insert_resource(connection, fork_id, resource)
            await announce(connection, caller.workspace_id, "session.created", fork_id, now_us=now_us)
            return await read_session(connection, caller.workspace_id, fork_id)

        return await self._store.write(op)


def _at_rest(event: Event) -> bool:
    """Whether nobody is waited for, so that another log can begin with this end."""
    return bool(msgspec.json.decode(event.body)["stop_reason"]["type"] != "requires_action")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What goes wrong with a box for files, in an error of the API."""
    try:
        yield
    except BoxFailed as error:
        raise FreeholdError(f"The session's files could not be had: {error}") from error
