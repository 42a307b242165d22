"""Makes what takes batches in, works on them, and looks after them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from freehold.app.ground import Ground
from freehold.app.library import Library
from freehold.batches.answers import Answers
from freehold.batches.choice import chooser
from freehold.batches.collected import Collected
from freehold.batches.estimates import Estimates
from freehold.batches.keeper import Keeper
from freehold.batches.lifecycle import Batches
from freehold.batches.local import LocalEngine
from freehold.batches.offload import Offload, OffloadPlan
from freehold.batches.pace import Pace
from freehold.batches.payers import Payers
from freehold.batches.settings import BatchSettings
from freehold.batches.upstream import UpstreamEngine
from freehold.calls import Handler
from freehold.jobs.owners import Owners
from freehold.store.batches import BatchRows
from freehold.store.deferred import DeferredRows
from freehold.telemetry.calls import CallMetrics
from freehold.upstreams.base import RunsBatches, Upstream


class BatchHouse:
    """What takes batches in, works on them, and looks after them."""

    def __init__(
        self,
        own: Batches,
        local: LocalEngine,
        upstream: UpstreamEngine | None,
        keeper: Keeper,
        owners: Owners,
        offload: Offload,
        deferred: DeferredRows,
    ) -> None:
        self.own = own
        self.deferred = deferred
        self._offload = offload
        self._local = local
        self._upstream = upstream
        self._keeper = keeper
        self._owners = owners
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to work."""
        self._local.start()
        self._tasks = [asyncio.create_task(self._keeper.run(), name="batch keeper")]
        self._tasks.append(asyncio.create_task(self._offload.run(), name="deferred calls"))
        if self._upstream is not None:
            self._tasks.append(asyncio.create_task(self._upstream.run(), name="upstream batches"))

    async def close(self) -> None:
        """Hand the items over, give our name back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._offload.stop()
        await self._local.stop()
        self._owners.close()


def make_batches(
    ground: Ground,
    handler: Handler,
    upstream: Upstream,
    measured: CallMetrics,
    library: Library,
    payers: Payers,
    aliases: Callable[[], Collection[str]],
) -> BatchHouse:
    """Both engines where the upstream has batches of its own, else the local one. `aliases`: models chosen here."""
    store, rates = ground.store, ground.rates
    clock, ids, settings = ground.clock, ground.ids, ground.configuration.section(BatchSettings)
    cheaper = upstream.name == "claude"
    choose = chooser(settings.batch_engine, has_batches=isinstance(upstream, RunsBatches), cheaper=cheaper)
    estimates = Estimates(store, handler, rates.cost, clock=clock, ids=ids)
    own = Batches(
        BatchRows(store),
        clock=clock,
        ids=ids,
        scratch=library.scratch,
        choose=choose,
        aliases=aliases,
        estimates=estimates,
        payers=payers,
    )
    pace = Pace(settings.batch_concurrency, clock, lambda: measured.open - measured.open_of_batches)
    answers = Answers(handler, pace, clock=clock, ids=ids, price=rates.cost, attempts=settings.batch_attempts)
    owners = Owners(ground.data / "batch-owners", ids)
    local = LocalEngine(store, owners.name, answers, pace, clock=clock, ids=ids)
    there = None
    if isinstance(upstream, RunsBatches):
        collected = Collected(store, rates, upstream.name, clock=clock, ids=ids)
        there = UpstreamEngine(
            store,
            owners.name,
            upstream,
            collected,
            clock=clock,
            ids=ids,
            poll_s=settings.batch_poll_s,
            chunk_items=settings.batch_chunk_requests,
        )
    deferred = DeferredRows(store)
    plan = OffloadPlan(
        settings.offload_hold_s,
        settings.offload_reserve_s,
        settings.offload_batch_s,
        batches=choose(None, False) == "upstream",
    )
    offload = Offload(store, deferred, handler, plan, clock=clock, ids=ids)
    return BatchHouse(own, local, there, Keeper(store, owners, clock=clock, ids=ids), owners, offload, deferred)
