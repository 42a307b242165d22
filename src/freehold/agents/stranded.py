"""Sessions that wait for a server and whose files no server here can reach: told of, or taken over with a copy.

A server takes only sessions whose files it reaches, so one whose machine is gone would wait in silence.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from freehold.agents.events import Voice
from freehold.agents.log import new_event
from freehold.clock import Clock
from freehold.environments.copies import Copy
from freehold.environments.site import host_of
from freehold.errors import FreeholdError
from freehold.ids import NewId
from freehold.store import session_log
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.sessions import find_session

log = logging.getLogger(__name__)

LOOK_S = 15.0
SILENT_S = 60.0
_AT_ONCE = 20

RESTORE_S = 600.0
"""The longest that a copy may take to be restored; the session is leased to whoever does it."""


class Rescue(Protocol):
    """Where copies of sessions' files are."""

    def has(self, session_id: str) -> bool:
        """Whether there is one."""
        ...

    async def restore(self, session_id: str) -> Copy | None:
        """Make the newest copy the session's files here; `None`: there is none."""
        ...


class Stranded:
    """Looks for them; `run` for ever."""

    def __init__(
        self,
        store: Store,
        site: str,
        *,
        rescue: Rescue | None,
        clock: Clock,
        ids: NewId,
        silent_s: float = SILENT_S,
    ) -> None:
        """`rescue` of `None`: nothing is taken over. `silent_s`: how long a session must have waited for a server."""
        self._silent_us = int(silent_s * 1_000_000)
        self._store = store
        self._site = site
        self._rescue = rescue
        self._clock = clock
        self._ids = ids

    async def run(self) -> None:
        """Look every so often; `app/` starts this as a task and cancels it."""
        while True:
            await self._clock.sleep(LOOK_S)
            try:
                await self.look()
            except FreeholdError as error:
                log.warning("sessions whose files are elsewhere could not be looked at: %s", error.message)
            except Exception:  # the outer edge of a job
                log.exception("looking at sessions whose files are elsewhere failed; it goes on")

    async def look(self) -> None:
        """One look."""
        async with self._store.read() as connection:
            found = await session_log.stranded(
                connection, self._site, _AT_ONCE, now_us=self._clock.now_us(), silent_us=self._silent_us
            )
        for session_id, place in found:
            if self._rescue is None or not await asyncio.to_thread(self._rescue.has, session_id):
                await self._tell(session_id, place)
            else:
                await self._take_over(self._rescue, session_id, place)

    async def _take_over(self, rescue: Rescue, session_id: str, place: str) -> None:
        """Restore the copy under a lease, so that neither the machine that had the files nor another process here can
        run the session meanwhile; then say so, and where its files are from now on, in one commit."""
        lease = await self._store.write(lambda connection: self._lease(connection, session_id))
        if lease is None:
            return  # somebody was quicker
        try:
            copy = await rescue.restore(session_id)
        except (FreeholdError, OSError) as error:
            log.warning("the copy of the files of %s cannot be used: %s", session_id, error)
            copy = None
        if copy is None:
            await self._store.write(lambda connection: session_log.release(connection, session_id, lease.epoch))
            return
        text, now_us = _lost(place, copy), self._clock.now_us()

        async def op(connection: Connection) -> None:
            row = await find_session(connection, session_id)
            if row is None:
                return
            event = Voice(self._ids, row.thread_id, row.agent["name"]).error("unknown_error", text, "retrying")
            await session_log.append(
                connection,
                session_id,
                [new_event(event, now_us)],
                now_us=now_us,
                epoch=lease.epoch,
                values={"files_at": self._site},
                release=True,
            )

        try:
            await self._store.write(op, wake=[session_id, "sessions"])
        except session_log.Fenced:
            log.warning("%s was taken by another server meanwhile; the restored copy is not used", session_id)
            return
        log.warning("%s: %s", session_id, text)

    async def _lease(self, connection: Connection, session_id: str) -> session_log.Lease | None:
        owner, now_us = f"rescue.{self._ids('srv')}", self._clock.now_us()
        return await session_log.acquire(connection, owner, now_us=now_us, session_id=session_id, lease_s=RESTORE_S)

    async def _tell(self, session_id: str, place: str) -> None:
        """Write down once what is the matter."""
        text = _waits(place)

        async def op(connection: Connection) -> bool:
            head = await session_log.lock(connection, session_id)
            row = await find_session(connection, session_id)
            if row is None or row.files_at != place or head.status not in session_log.RUNNABLE:
                return False  # somebody was quicker
            if await _said(connection, session_id, head.last_seq, text):
                return False
            event = Voice(self._ids, row.thread_id, row.agent["name"]).error("unknown_error", text, "retrying")
            now_us = self._clock.now_us()
            await session_log.append(connection, session_id, [new_event(event, now_us)], now_us=now_us)
            return True

        if await self._store.write(op, wake=[session_id]):
            log.warning("%s: %s", session_id, text)


async def _said(connection: Connection, session_id: str, last_seq: int, text: str) -> bool:
    """The log ends with this already."""
    events = await session_log.after(connection, session_id, last_seq - 1)
    body: dict[str, Any] = msgspec.json.decode(events[-1].body) if events else {}
    told: dict[str, Any] = body.get("error") or {}
    return told.get("message") == text


def _waits(place: str) -> str:
    return (
        f"The files of this session are on {host_of(place)}, and no server there has answered for a while. It goes on "
        "as soon as one does."
    )


def _lost(place: str, copy: Copy) -> str:
    taken = datetime.fromtimestamp(copy.taken_us / 1_000_000, UTC).isoformat(timespec="seconds")
    return (
        f"The files of this session were on {host_of(place)}, where no server answers. It goes on here with the copy "
        f"of {taken}, taken when the log had {copy.seq} events; what was changed in its files since then is lost."
    )
