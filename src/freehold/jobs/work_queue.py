"""The work queue of self-hosted environments: items handed out to workers, kept by heartbeats, taken back.

    queued → (handed out by poll) → ack → starting → first heartbeat → active → stop → stopping → stopped

An item that was handed out and not acknowledged, or whose heartbeats have ended, is handed out again, under a higher
generation; tokens of the earlier one are void then. A heartbeat names the one before it, so of two workers that believe
to have an item only one goes on. Times decide only when to try. It knows sessions by what `store.work` says of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from freehold.access.keys import TOKEN_PREFIX
from freehold.clock import Clock, rfc3339
from freehold.config import setting
from freehold.errors import Conflict, NotFound, PreconditionFailed
from freehold.ids import NewId
from freehold.jobs import chaos
from freehold.store import work
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.environments import read_environment
from freehold.store.work import WorkRow, work_key
from freehold.store.work_pollers import Pollers

NO_HEARTBEAT = "NO_HEARTBEAT"
RECLAIM_MS = 5000
LONGEST_LEASE_S = 600
_LOOK_S = 0.25
"""How often a poll that waits looks for what another process has queued."""
_LONGEST_DELAY_S = 300
_TRIES = 20
"""Items that one poll looks at, if others take them away or nobody needs them any more."""


@dataclass(frozen=True, slots=True)
class WorkSettings:
    """Settings of work that others do."""

    work_lease_s: float = setting(
        90.0, "How long a worker may be silent before its session is given to another worker.", unit="s", least=1
    )
    work_idle_s: float = setting(
        300.0, "How long a session may be at rest before its worker is told to let go of it.", unit="s", least=1
    )


Lost = Callable[[Connection, str, int], Awaitable[None]]
"""Is told, within the operation, which session has lost a worker that had begun, and when. Its row is locked."""


async def unmourned(connection: Connection, session_id: str, now_us: int) -> None:
    """Where nobody is to know."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which environment, of which workspace."""

    workspace_id: str
    environment_id: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a worker says of an item. `expected`: the heartbeat before it, or `NO_HEARTBEAT`; `None`: whichever."""

    expected: str | None = None
    ttl_s: int | None = None
    void: bool = False
    """It comes with the token of an earlier generation."""


@dataclass(frozen=True, slots=True)
class Beaten:
    """The lease after a heartbeat."""

    item: WorkRow
    extended: bool
    ttl_s: int


class WorkQueue:
    """The queues of all environments."""

    def __init__(
        self, store: Store, *, clock: Clock, ids: NewId, settings: WorkSettings, lost: Lost = unmourned
    ) -> None:
        self._store = store
        self._lost = lost
        self._idle_us = round(settings.work_idle_s * 1_000_000)
        self._clock = clock
        self._ids = ids
        self._lease_s = settings.work_lease_s
        self.pollers = Pollers(store, clock)

    async def poll(
        self, place: Place, *, block_ms: int | None, reclaim_ms: int, worker_id: str | None
    ) -> tuple[WorkRow, str] | None:
        """The item that has waited longest, and a token for its session; `None` if there was none so long.

        Raises:
            NotFound: no such environment.
        """
        await self._store.look(
            lambda connection: read_environment(connection, place.workspace_id, place.environment_id)
        )
        await self.pollers.saw(place.environment_id, worker_id)
        key, loop = work_key(place.environment_id), asyncio.get_running_loop()
        until = loop.time() + (block_ms or 0) / 1000
        while True:
            version = self._store.wakes.version(key)
            found = await self._take(place, reclaim_ms * 1000)
            left_s = until - loop.time()
            if found is not None or left_s <= 0:
                return found
            await self._store.wakes.changed(key, version, min(left_s, _LOOK_S), lazy=True)

    async def ack(self, place: Place, work_id: str) -> WorkRow:
        """The worker has it. Saying so again changes nothing, until its first heartbeat.

        Raises:
            NotFound: no such item.
            Conflict: nobody was handed it, or it is past that.
        """
        chaos.point("before_ack")
        now_us = self._clock.now_us()

        def acknowledged(item: WorkRow) -> Mapping[str, Any]:
            if item.state == "starting":
                return {}
            if item.state != "queued" or item.polled_us is None:
                how = "waits to be polled" if item.state == "queued" else f"is {item.state}"
                raise Conflict(f"{item.id} {how}, so it cannot be acknowledged. Poll for work.")
            return {"state": "starting", "acknowledged_us": now_us, "lease_until_us": self._until(now_us)}

        item = await self._change(place, work_id, acknowledged)
        chaos.point("after_ack")
        return item

    async def heartbeat(self, place: Place, work_id: str, beat: Heartbeat) -> Beaten:
        """Keep the lease.

        Raises:
            NotFound: no such item.
            PreconditionFailed: another worker may have it; the details hold the lease as it is.
            Conflict: it was not acknowledged.
        """
        chaos.point("before_heartbeat")
        now_us = self._clock.now_us()
        ttl_s = round(self._lease_s) if beat.ttl_s is None else min(beat.ttl_s, LONGEST_LEASE_S)

        def beaten(item: WorkRow) -> Mapping[str, Any]:
            if beat.void or (item.state not in ("stopping", "stopped") and not _fits(item, beat.expected)):
                raise _lost(item, ttl_s)
            if item.state == "queued":
                raise Conflict(f"{item.id} was not acknowledged; do that first.")
            if item.state == "stopped":
                return {}
            at_us = max(now_us, (item.heartbeat_us or 0) + 1)
            lease = {"heartbeat_us": at_us, "lease_until_us": now_us + ttl_s * 1_000_000}
            begun = {"state": "active", "started_us": item.started_us or now_us} if item.state == "starting" else {}
            return {**lease, **begun}

        async def op(connection: Connection) -> WorkRow:
            item = await self._locked(connection, place, work_id)
            values = dict(beaten(item))
            before_us = now_us - self._idle_us
            if values and item.state != "stopping" and await work.is_resting(connection, item.session_id, before_us):
                values |= {"state": "stopping", "stop_requested_us": now_us}
            return await work.change(connection, work_id, values) if values else item

        item = await self._store.write(op)
        chaos.point("after_heartbeat")
        return Beaten(item, item.state != "stopped", ttl_s)

    async def stop(self, place: Place, work_id: str, *, force: bool, void: bool = False) -> WorkRow:
        """Let the worker come to an end, or `force` it to be over at once. Where the session still needs a worker,
        a new item waits for one. `void`: asked with the token of an earlier generation.

        Raises:
            NotFound: no such item.
            Conflict: it is stopped, or another worker has it.
        """
        now_us = self._clock.now_us()

        async def op(connection: Connection) -> WorkRow:
            item = await self._locked(connection, place, work_id)
            if void:
                raise Conflict(f"{item.id} was handed to another worker since.")
            if item.state == "stopped":
                raise Conflict(f"{item.id} is stopped already.")
            if force or item.state in ("queued", "starting"):  # nobody would hear of it at a heartbeat
                return await self._stopped(connection, item, now_us)
            asked = item.stop_requested_us or now_us
            return await work.change(connection, item.id, {"state": "stopping", "stop_requested_us": asked})

        return await self._store.write(op, wake=[work_key(place.environment_id)])

    async def update(self, place: Place, work_id: str, metadata: Callable[[dict[str, str]], dict[str, str]]) -> WorkRow:
        """Change what its users have noted. Raises `NotFound`."""
        return await self._change(place, work_id, lambda item: {"metadata": metadata(item.metadata)})

    def holds(self, item: WorkRow) -> bool:
        """Whether the worker that was handed an item last may still act for its session."""
        since_us = item.polled_us if item.state == "queued" else item.lease_until_us
        return item.state != "stopped" and since_us is not None and self._until(since_us) > self._clock.now_us()

    def _until(self, us: int) -> int:
        return us + round(self._lease_s * 1_000_000)

    async def _take(self, place: Place, reclaim_us: int) -> tuple[WorkRow, str] | None:
        now_us = self._clock.now_us()
        some = await self._store.look(
            lambda connection: work.has_ripe(connection, place.environment_id, now_us, reclaim_us)
        )
        if not some:
            return None
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)

        async def op(connection: Connection) -> WorkRow | None:
            return await self._hand_out(connection, place, reclaim_us, hashlib.sha256(token.encode()).hexdigest())

        item = await self._store.write(op)
        chaos.point("after_poll")
        if item is None:
            return None
        self._store.wakes.signal([item.session_id])  # its log may tell of a worker that was lost
        return item, token

    async def _hand_out(self, connection: Connection, place: Place, reclaim_us: int, sha256: str) -> WorkRow | None:
        now_us = self._clock.now_us()
        for lapsed in await work.lapsed(connection, place.environment_id, now_us):
            item = await work.lock(connection, lapsed)
            if item is not None and item.state == "stopping" and item.lease_until_us <= now_us:
                await self._stopped(connection, item, now_us)
        for _ in range(_TRIES):
            work_id = await work.ripe(connection, place.environment_id, now_us, reclaim_us)
            item = None if work_id is None else await work.lock(connection, work_id)
            if item is None:
                return None
            if not work.is_ripe(item, now_us, reclaim_us):
                continue
            if not await work.wants_worker(connection, item.session_id):
                await self._stopped(connection, item, now_us)
                continue
            if item.heartbeat_us is not None:
                await self._lost(connection, item.session_id, now_us)
            item = await work.change(connection, item.id, _handed(item, now_us))
            await work.add_token(connection, item, sha256)
            return item
        return None

    async def _stopped(self, connection: Connection, item: WorkRow, now_us: int) -> WorkRow:
        """It is over; if its session needs a worker, the next item waits: for a while, if this one was of no use."""
        values = {"state": "stopped", "stopped_us": now_us, "stop_requested_us": item.stop_requested_us or now_us}
        stopped = await work.change(connection, item.id, values)
        if await work.wants_worker(connection, item.session_id):
            fruitless = 0 if item.answered_us is not None else item.fruitless + 1
            delay_s = min(2**fruitless, _LONGEST_DELAY_S) if fruitless else 0
            due_us = now_us + delay_s * 1_000_000
            await work.ensure(
                connection, work.new_item(self._ids("work"), item, now_us, due_us=due_us, fruitless=fruitless)
            )
        return stopped

    async def _change(self, place: Place, work_id: str, change: Callable[[WorkRow], Mapping[str, Any]]) -> WorkRow:
        async def op(connection: Connection) -> WorkRow:
            item = await self._locked(connection, place, work_id)
            values = change(item)
            return await work.change(connection, work_id, values) if values else item

        return await self._store.write(op)

    async def _locked(self, connection: Connection, place: Place, work_id: str) -> WorkRow:
        await work.read(connection, place.workspace_id, place.environment_id, work_id)
        item = await work.lock(connection, work_id)
        if item is None:  # its environment was deleted between the two
            raise NotFound(f"There is no work item {work_id}.")
        return item


def _handed(item: WorkRow, now_us: int) -> dict[str, Any]:
    """An item as it goes to a worker, whatever became of it before."""
    fresh: dict[str, Literal["queued"] | None] = dict.fromkeys(("acknowledged_us", "started_us", "heartbeat_us"))
    return {**fresh, "state": "queued", "polled_us": now_us, "lease_until_us": 0, "generation": item.generation + 1}


def _fits(item: WorkRow, expected: str | None) -> bool:
    if expected is None:
        return True
    return expected == (NO_HEARTBEAT if item.heartbeat_us is None else rfc3339(item.heartbeat_us))


def _lost(item: WorkRow, ttl_s: int) -> PreconditionFailed:
    state = {
        "last_heartbeat": None if item.heartbeat_us is None else rfc3339(item.heartbeat_us),
        "lease_extended": False,
        "state": item.state,
        "ttl_seconds": ttl_s,
    }
    return PreconditionFailed(
        f"expected_last_heartbeat: it is not the last heartbeat of {item.id}; another worker may have it now.",
        details={"error_code": "heartbeat_precondition_failed", "current_state": state},
    )
