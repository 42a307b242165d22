"""A simulator put together to be used alone: clock, batches, admin surface and HTTP face in one.

`freehold simulate` and the pytest plugin start this; the product's own upstream is `Simulator` by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from freehold.clock import Clock, SystemClock
from freehold.simulator.admin import Admin
from freehold.simulator.batches import Batches, BatchPace
from freehold.simulator.brains.base import Brain
from freehold.simulator.clock import TurnedClock
from freehold.simulator.http import App, Receive, Scope, Send
from freehold.simulator.model.limits import Limits
from freehold.simulator.pace import AT_ONCE, Pace
from freehold.simulator.upstream import Simulator


@dataclass(frozen=True, slots=True)
class Settings:
    """How a simulator that stands alone is set up; see `Simulator` for each."""

    seed: int = 0
    brain: str | Brain = "planner"
    brains: Mapping[str, str | Brain] = field(default_factory=dict)
    limits: Limits | None = None
    exact_counts: bool = False
    pace: Pace = AT_ONCE
    batch_pace: BatchPace = field(default_factory=BatchPace)
    start_us: int | None = None
    """What its clock shows at first; `None`: the machine's time."""
    stopped: bool = False
    """Its clock moves by hand only."""
    history: int = 1_000
    keep_bodies: bool = False


class Served:
    """An ASGI application with its simulator: hand it to any ASGI server."""

    def __init__(self, settings: Settings | None = None, *, below: Clock | None = None) -> None:
        self.settings = settings or Settings()
        self.clock = TurnedClock(below or SystemClock(), start_us=self.settings.start_us)
        if self.settings.stopped:
            self.clock.stop()
        self.simulator: Simulator
        self._app: App
        self.start_over(self.settings.seed)

    def start_over(self, seed: int) -> None:
        """Forget everything but the clock: cache, limits, bill, faults, batches; and go on with that seed."""
        chosen = self.settings
        self.simulator = Simulator(
            self.clock,
            seed=seed,
            brain=chosen.brain,
            brains=chosen.brains,
            limits=chosen.limits,
            exact_counts=chosen.exact_counts,
            pace=chosen.pace,
            history=chosen.history,
            keep_bodies=chosen.keep_bodies,
        )
        batches = Batches(self.simulator.claude, self.clock, chosen.batch_pace)
        admin = Admin(self.simulator, self.clock, self.start_over)
        self._app = App(self.simulator, self.clock, admin=admin, batches=batches)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await self._app(scope, receive, send)
