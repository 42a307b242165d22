"""Who drives what: takes sessions that need an owner, keeps their leases, and lets them go when the server stops.

It knows leases and wakes, not what is done under them: that is a `Work`, made by whoever made the driver. A wake is a
hint; a look at the tables every second finds the same work, whatever was lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from freehold.clock import Clock
from freehold.config import setting
from freehold.errors import Unavailable
from freehold.jobs.owners import Owners
from freehold.store import session_log
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.session_log import LEASE_S, Fenced, Lease

log = logging.getLogger(__name__)

WAKE = "sessions"
"""The key that is signalled when some session may need an owner."""
SWEEP_S = 1.0
RENEW_S = LEASE_S / 3
_CLAIMED_AT_ONCE = 64
_LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True)
class DriverSettings:
    """Settings of what one server process works on."""

    max_running_sessions: int = setting(
        5000, "Sessions that one server process works on at once; others wait.", least=1
    )
    drain_s: float = setting(
        20.0, "How long a server that stops waits for running tools before it hands over.", unit="s"
    )


class Work(Protocol):
    """What is done for one session under one lease."""

    async def run(self) -> bool:
        """Do it. True: the lease was given back with the last write; false: the driver is to give it back.

        Raises:
            Fenced: another process has the session.
        """
        ...

    def stop(self) -> None:
        """Come to an end soon; `run` returns then."""
        ...

    async def give_up(self, failures: int) -> bool:
        """`run` has failed that often in a row. Bring the session to rest, if it is time for that, and say if so."""
        ...


@dataclass(slots=True)
class _Held:
    lease: Lease
    work: Work
    task: asyncio.Task[None]


class Driver:
    """Runs the sessions of one server process. `start`, then `stop`."""

    def __init__(
        self,
        store: Store,
        owners: Owners,
        make: Callable[[Lease], Work],
        *,
        clock: Clock,
        settings: DriverSettings,
        pause_s: float = 2.0,
        site: str | None = None,
    ) -> None:
        """`pause_s`: how long a session whose work has failed is left alone; doubled with every failure in a row.
        `site`: which files can be reached from here; a session with files elsewhere is not taken."""
        self._store = store
        self._owners = owners
        self._make = make
        self._clock = clock
        self._settings = settings
        self._pause_s = pause_s
        self._site = site
        self._held: dict[str, _Held] = {}
        self._failures: dict[str, int] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = False

    @property
    def running(self) -> int:
        """How many sessions are worked on here."""
        return len(self._held)

    def start(self) -> None:
        """Begin to look for work."""
        loops = (("sweep", self._sweep), ("renewal", self._renewal))
        self._loops = [asyncio.create_task(loop(), name=f"driver {name}") for name, loop in loops]

    async def stop(self) -> None:
        """Take nothing more, let running work come to a good place or cut it off, and give every lease back."""
        self._stopping = True
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        for held in self._held.values():
            held.work.stop()
        tasks = [held.task for held in self._held.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._settings.drain_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # Taking.

    async def _sweep(self) -> None:
        woken = False
        while True:
            seen = self._store.wakes.version(WAKE)
            try:
                if not woken:
                    await self._bury()
                while (woken or await self._anything()) and await self._take():
                    pass
            except Unavailable as error:
                log.warning("sessions cannot be taken now: %s", error.message)
            except Exception:  # the outer edge of a job: a sweep that ends would leave every session stuck
                log.exception("the sweep for sessions failed; it goes on")
            woken = await self._store.wakes.changed(WAKE, seen, SWEEP_S, lazy=True) != seen

    async def _anything(self) -> bool:
        """Some session needs an owner. Asked before a sweep, so that a quiet server does not write every second."""

        async def op(connection: Connection) -> bool:
            return bool(await session_log.runnable(connection, 1, now_us=self._clock.now_us(), site=self._site))

        return await self._store.look(op)

    async def _take(self) -> bool:
        """Take what needs an owner; whether there may be more."""
        room = min(_CLAIMED_AT_ONCE, self._settings.max_running_sessions - len(self._held))

        async def op(connection: Connection) -> list[Lease]:
            now_us = self._clock.now_us()
            return await session_log.acquire_some(connection, self._owners.name, room, now_us=now_us, site=self._site)

        leases = await self._store.write(op) if room > 0 else []
        for lease in leases:
            self._hold(lease)
        return len(leases) == room > 0

    def _hold(self, lease: Lease) -> None:
        before = self._held.pop(lease.session_id, None)
        work = self._make(lease)
        task = asyncio.create_task(self._drive(lease, work, before), name=f"session {lease.session_id}")
        self._held[lease.session_id] = _Held(lease, work, task)

    async def _bury(self) -> None:
        """End the leases of processes on this machine that are known to be dead."""
        dead = self._owners.gone()
        if not dead:
            return

        async def op(connection: Connection) -> list[str]:
            return await session_log.abandon(connection, dead)

        freed = await self._store.write(op)
        self._owners.forget(dead)
        log.info("%d dead server(s) found; %d session(s) taken over from them", len(dead), len(freed))

    # Driving.

    async def _drive(self, lease: Lease, work: Work, before: _Held | None) -> None:
        """One session from the lease to its end. The outer edge of a job: nothing leaves it but cancellation."""
        if before is not None:  # our own lease had run out; what was done under it is fenced
            before.task.cancel()
            await asyncio.gather(before.task, return_exceptions=True)
        given_back = True
        try:
            given_back = await work.run()
            self._failures.pop(lease.session_id, None)
        except Fenced:
            log.info("%s was taken over; this server drops it", lease.session_id)
        except Unavailable as error:
            # Nothing is acknowledged any more; the lease runs out and the session is taken up again.
            log.warning("%s stops here: %s", lease.session_id, error.message)
        except asyncio.CancelledError:
            given_back = False
            raise
        except Exception:
            log.exception("%s failed inside the server", lease.session_id)
            await self._after_failure(lease, work)
        finally:
            if not given_back:
                await self._give_back(lease)
            if (held := self._held.get(lease.session_id)) and held.lease == lease:
                del self._held[lease.session_id]
            if not self._stopping and not given_back:
                self._store.wakes.signal([WAKE])

    async def _after_failure(self, lease: Lease, work: Work) -> None:
        failures = self._failures[lease.session_id] = self._failures.get(lease.session_id, 0) + 1
        try:
            if await work.give_up(failures):
                del self._failures[lease.session_id]
                return
            pause_s = min(self._pause_s * (1 << (failures - 1)), _LONGEST_PAUSE_S)
            await self._postpone(lease, self._clock.now_us() + round(pause_s * 1_000_000))
        except Fenced:
            return
        except Exception:  # what failed may be the database itself; the lease runs out
            log.exception("%s could not be put back; its lease runs out", lease.session_id)

    async def _postpone(self, lease: Lease, wake_at_us: int) -> None:
        async def op(connection: Connection) -> None:
            await session_log.append(
                connection,
                lease.session_id,
                (),
                now_us=self._clock.now_us(),
                epoch=lease.epoch,
                values={"wake_at_us": wake_at_us},
                release=True,
            )

        await self._store.write(op)

    async def _give_back(self, lease: Lease) -> None:
        async def op(connection: Connection) -> bool:
            return await session_log.release(connection, lease.session_id, lease.epoch)

        try:
            await asyncio.shield(self._store.write(op, wake=[WAKE]))
        except Unavailable as error:
            log.warning("the lease of %s could not be given back, it runs out: %s", lease.session_id, error.message)

    # Keeping.

    async def _renewal(self) -> None:
        while True:
            await self._clock.sleep(RENEW_S)
            held = {session_id: one.lease.epoch for session_id, one in self._held.items()}
            if not held:
                continue
            try:
                lost = await self._renew(held)
            except Unavailable as error:
                log.warning("leases cannot be renewed now: %s", error.message)
                continue
            except Exception:  # the outer edge of a job: without renewals every lease would run out
                log.exception("renewing leases failed; it goes on")
                continue
            for session_id in lost:
                one = self._held.get(session_id)
                if one is not None and one.lease.epoch == held[session_id]:
                    one.task.cancel()

    async def _renew(self, held: dict[str, int]) -> frozenset[str]:
        async def op(connection: Connection) -> frozenset[str]:
            return await session_log.renew(connection, held, now_us=self._clock.now_us())

        return await self._store.write(op)
