"""Makes the work queue of self-hosted environments."""

from __future__ import annotations

from freehold.agents.lost_workers import LostWorkers
from freehold.app.ground import Ground
from freehold.jobs.work_queue import WorkQueue, WorkSettings


def make_work(ground: Ground) -> WorkQueue:
    """The queue of all environments."""
    settings = ground.configuration.section(WorkSettings)
    lost = LostWorkers(ground.ids)
    return WorkQueue(ground.store, clock=ground.clock, ids=ground.ids, settings=settings, lost=lost)
