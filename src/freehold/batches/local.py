"""The local engine: items of batches become calls through the Handler, as many at once as the upstream bears.

Claimed in chunks of up to 100, their params read a few megabytes at a time, answered, and completed by the group: while
one group of results is being written the next gathers. What is in memory is bounded by the concurrency, never by the
batch. Any number of processes share a batch; a killed one costs the calls that it had open.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from freehold.batches.answers import Answers, Outcome, Paused, of_batch
from freehold.batches.pace import Pace
from freehold.batches.prefixes import prefixes
from freehold.batches.requests import For
from freehold.batches.warmth import Warmth
from freehold.clock import Clock
from freehold.errors import Unavailable
from freehold.ids import NewId
from freehold.jobs import chaos
from freehold.store import batch_work
from freehold.store.base import Connection
from freehold.store.batch_work import Again, Claimed, Done
from freehold.store.batches import WAKE, BatchRow
from freehold.store.engine import Store
from freehold.store.leases import LEASE_S
from freehold.store.webhooks import WAKE as WEBHOOKS

log = logging.getLogger(__name__)

CLAIMED_AT_ONCE = 100
LOADED_BYTES = 8 << 20
WRITTEN_AT_ONCE = 500
GATHER_S = 0.05
"""Results wait so long for company: nobody is waiting for them, and a group costs little more than one."""
UNWRITTEN_MOST = 2_000
UNWRITTEN_BYTES = 16 << 20
"""Results that may wait to be written before nothing new is begun."""
LOOK_S = 1.0


class _Loaded(NamedTuple):
    item: Claimed
    params: bytes
    made_for: For
    prefixes: tuple[bytes, ...]


class LocalEngine:
    """The items of batches that this process works on. `start`, then `stop`."""

    def __init__(self, store: Store, owner: str, answers: Answers, pace: Pace, *, clock: Clock, ids: NewId) -> None:
        self._store = store
        self._owner = owner
        self._answers = answers
        self._pace = pace
        self._clock = clock
        self._ids = ids
        self._claimed: deque[Claimed] = deque()
        self._loaded: deque[_Loaded] = deque()
        self._batches: dict[str, For] = {}
        self._held: dict[str, set[int]] = {}
        """Every item that is leased to us, by batch: what is renewed."""
        self._running: set[asyncio.Task[None]] = set()
        self._finished: deque[tuple[str, Outcome]] = deque()
        self._finished_bytes = 0
        self._turn = 0
        self._warmth = Warmth(clock)
        self._hungry = asyncio.Event()
        self._something = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def running(self) -> int:
        """How many calls of batches are open here."""
        return len(self._running)

    def start(self) -> None:
        """Begin to look for work."""
        loops = (("feed", self._feed), ("results", self._write), ("leases", self._renewal))
        self._tasks = [asyncio.create_task(loop(), name=f"batches {name}") for name, loop in loops]

    async def stop(self) -> None:
        """Begin nothing more, break off what is open, write what is there and give every lease back."""
        for task in [*self._tasks, *self._running]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._running, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
        try:
            while self._finished:
                await self._write_group()
            await self._store.write(lambda connection: batch_work.give_back(connection, self._owner), wake=[WAKE])
        except Unavailable as error:
            log.warning("leases of batch items could not be given back, they run out: %s", error.message)

    # Claiming.

    async def _feed(self) -> None:
        while True:
            seen = self._store.wakes.version(WAKE)
            try:
                more = await self._take()
            except Unavailable as error:
                log.warning("items of batches cannot be taken now: %s", error.message)
                more = False
            except Exception:  # the outer edge of a job: a feed that ends would leave every batch stuck
                log.exception("taking items of batches failed; it goes on")
                more = False
            self._begin()
            if not more:
                await self._store.wakes.changed(WAKE, seen, LOOK_S, lazy=True)
            else:
                await self._hungry.wait()
            self._hungry.clear()

    async def _take(self) -> bool:
        """Claim and load until there is enough; whether there may be more."""
        while len(self._loaded) < self._wanted():
            if not self._claimed and not await self._claim():
                return False
            await self._load()
        return True

    def _wanted(self) -> int:
        return max(4, min(CLAIMED_AT_ONCE, self._pace.limit))

    async def _claim(self) -> bool:
        """A chunk of one batch after the other, so that none waits for another to end."""
        active = await self._store.look(batch_work.active)
        rows = [row for row in active if row.engine == "local" and row.status == "in_progress" and not row.paused_why]
        limit = min(CLAIMED_AT_ONCE, 2 * self._wanted())
        for step in range(len(rows)):
            row = rows[(self._turn + step) % len(rows)]
            found = await self._claim_of(row, limit)
            if found:
                self._turn += step + 1
                self._claimed.extend(found)
                chaos.point("batch_claimed")
                return True
        return False

    async def _claim_of(self, row: BatchRow, limit: int) -> list[Claimed]:
        if self._clock.now_us() >= row.expires_us:
            return []

        async def op(connection: Connection) -> list[Claimed]:
            return await batch_work.claim(connection, row.id, self._owner, limit=limit, now_us=self._clock.now_us())

        found = await self._store.write(op)
        if found:
            self._held.setdefault(row.id, set()).update(item.idx for item in found)
            kept = msgspec.json.decode(row.headers, type=dict[str, str])
            self._batches.setdefault(row.id, of_batch(row.id, row.workspace_id, row.key_id, kept))
        return found

    async def _load(self) -> None:
        """Read the params of the next claimed items, a few megabytes of them."""
        items = [self._claimed.popleft()]
        size_bytes = items[0].size_bytes
        while self._claimed and self._claimed[0].batch_id == items[0].batch_id:
            size_bytes += self._claimed[0].size_bytes
            if size_bytes > LOADED_BYTES:
                break
            items.append(self._claimed.popleft())
        batch_id = items[0].batch_id
        async with self._store.read() as connection:
            params = await batch_work.params(connection, batch_id, [item.idx for item in items])
        made_for = self._batches[batch_id]
        self._loaded.extend(
            _Loaded(item, params[item.idx], made_for, prefixes(params[item.idx]))
            for item in items
            if item.idx in params
        )

    # Calling.

    def _begin(self) -> None:
        """Begin as many calls as may be open now."""
        allowed = self._pace.allowed()
        while len(self._running) < allowed and self._may_finish_more():
            loaded = self._next()
            if loaded is None:
                break
            task = asyncio.create_task(self._work(loaded, self._warmth.begun(loaded.prefixes)))
            self._running.add(task)
            task.add_done_callback(self._ended)
        if len(self._loaded) < self._wanted():
            self._hungry.set()
        if allowed == 0 and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(min(LOOK_S, self._pace.held_s()), self._go_on)

    def _next(self) -> _Loaded | None:
        """The next call that may begin: not one whose prefix another is just writing to the cache."""
        for place, loaded in enumerate(self._loaded):
            if self._warmth.may_begin(loaded.prefixes):
                del self._loaded[place]
                return loaded
        return None

    def _go_on(self) -> None:
        self._timer = None
        self._begin()

    def _may_finish_more(self) -> bool:
        return len(self._finished) < UNWRITTEN_MOST and self._finished_bytes < UNWRITTEN_BYTES

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            self._begin()

    async def _work(self, loaded: _Loaded, written: tuple[bytes, ...]) -> None:
        item, outcome = loaded.item, None
        try:
            if item.idx not in self._held.get(item.batch_id, ()):
                return  # its lease was lost while it waited
            outcome = await self._answers.answer(item, loaded.params, loaded.made_for)
        except Exception:  # the outer edge of a job
            log.exception("item %d of %s failed inside the server", item.idx, item.batch_id)
            outcome = Again(item.idx, item.attempt, self._clock.now_us() + 5_000_000, item.failures + 1)
        finally:
            answered = isinstance(outcome, Done) and outcome.state == "succeeded"
            self._warmth.ended(loaded.prefixes, written, answered=answered)
        chaos.point("batch_answered")
        self._finished.append((item.batch_id, outcome))
        self._finished_bytes += len(outcome.line) if isinstance(outcome, Done) else 0
        self._something.set()

    # Writing.

    async def _write(self) -> None:
        while True:
            await self._something.wait()
            await asyncio.sleep(GATHER_S)
            self._something.clear()
            while self._finished:
                try:
                    await self._write_group()
                except Unavailable as error:
                    log.warning("results of batches cannot be written now: %s", error.message)
                    await self._clock.sleep(LOOK_S)
                except Exception:  # the outer edge of a job
                    log.exception("writing results of batches failed; it goes on")
                    await self._clock.sleep(LOOK_S)
                self._begin()

    async def _write_group(self) -> None:
        """Write what has finished, one operation a batch. What cannot be written stays."""
        group = [self._finished.popleft() for _ in range(min(len(self._finished), WRITTEN_AT_ONCE))]
        by_batch: dict[str, list[Outcome]] = {}
        for batch_id, outcome in group:
            by_batch.setdefault(batch_id, []).append(outcome)
        written = 0
        try:
            for batch_id, outcomes in by_batch.items():
                await self._complete(batch_id, outcomes)
                self._let_go(batch_id, outcomes)
                written += len(outcomes)
        except BaseException:
            left = [(batch_id, outcome) for batch_id, outcomes in by_batch.items() for outcome in outcomes][written:]
            self._finished.extendleft(reversed(left))
            raise
        chaos.point("batch_completed")

    async def _complete(self, batch_id: str, outcomes: Sequence[Outcome]) -> None:
        done = [one for one in outcomes if isinstance(one, Done)]
        paused = [one for one in outcomes if isinstance(one, Paused)]
        again = [one for one in outcomes if isinstance(one, Again)] + [one.again for one in paused]

        async def op(connection: Connection) -> bool:
            now_us = self._clock.now_us()
            ended = await batch_work.complete(
                self._store, connection, batch_id, self._owner, done, again, now_us=now_us, ids=self._ids
            )
            if paused:
                await batch_work.pause(connection, batch_id, paused[0].why)
            chaos.point("batch_in_commit")
            return ended

        ended = await self._store.write(op, wake=[batch_id, WAKE] if again else [batch_id])
        if ended:
            self._store.wakes.signal([WEBHOOKS])

    def _let_go(self, batch_id: str, outcomes: Sequence[Outcome]) -> None:
        held = self._held.get(batch_id, set())
        for one in outcomes:
            held.discard(one.again.idx if isinstance(one, Paused) else one.idx)
            self._finished_bytes -= len(one.line) if isinstance(one, Done) else 0
        if not held:
            self._held.pop(batch_id, None)
            self._batches.pop(batch_id, None)

    # Keeping.

    async def _renewal(self) -> None:
        while True:
            await self._clock.sleep(LEASE_S / 3)
            held: Mapping[str, list[int]] = {batch_id: sorted(places) for batch_id, places in self._held.items()}
            if not held:
                continue

            async def op(connection: Connection, held: Mapping[str, list[int]] = held) -> dict[str, set[int]]:
                return await batch_work.renew(connection, self._owner, held, now_us=self._clock.now_us())

            try:
                lost = await self._store.write(op)
            except Unavailable as error:
                log.warning("leases of batch items cannot be renewed now: %s", error.message)
                continue
            except Exception:  # the outer edge of a job: without it all that is under way here would be done twice
                log.exception("leases of batch items could not be renewed; it goes on")
                continue
            for batch_id, places in lost.items():
                if batch_id in self._held:
                    self._held[batch_id] -= places
