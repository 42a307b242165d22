"""Requests of routing's own: the same question to another model, through the whole pipeline, recorded and paid for.

Two uses. *Shadow evaluation* asks the other model after a sample of answers, in the background, and judges whether the
cheap answer was as good: the same closed answer, the strong one being taken as right. *Agreement* asks the cheap model
twice before the strong one is asked at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from freehold.calls import Call, Handler, Headers
from freehold.clock import Clock
from freehold.errors import FreeholdError
from freehold.gateway.attempts import Attempt, attempts_of
from freehold.gateway.routing.answers import closed_answer
from freehold.gateway.routing.learner import features_of
from freehold.gateway.routing.learning import Learning, route_name, shape_of
from freehold.gateway.routing.signals import Signals
from freehold.ids import NewId
from freehold.store.route_samples import SampleRow, packed, unpacked
from freehold.wire.envelopes import replace_fields

SHADOW, CASCADE = "freehold.shadow", "freehold.cascade"
_MOST_SHADOWS = 20
"""At a time in one process; more are left out, as if the sample had not met them."""
_MOST_LOADED = 5_000


class Answered(NamedTuple):
    """A whole answer to a request of our own."""

    headers: Headers
    whole: bytes
    attempt: Attempt


class KeepsSamples(Protocol):
    """See `store.route_samples.RouteSamples`."""

    def add(self, row: SampleRow) -> None:
        """Keep one; nobody waits."""
        ...

    async def newest(self, limit: int) -> list[SampleRow]:
        """The newest, oldest of them first."""
        ...


class Asking:
    """`handler` is the whole pipeline; until it is set, nothing is asked."""

    def __init__(self, clock: Clock, ids: NewId) -> None:
        self.handler: Handler | None = None
        self.clock = clock
        self._ids = ids

    async def ask(self, call: Call, model: str, source: str) -> Answered | None:
        """The whole answer of that model; `None`: it failed, or is none."""
        if self.handler is None:
            return None
        body = replace_fields(call.body, call.fields, {"model": msgspec.json.encode(model), "stream": None})
        fields = {**call.fields, "model": msgspec.json.encode(model)}
        fields.pop("stream", None)
        asked = msgspec.structs.replace(
            call,
            request_id=self._ids("req"),
            body=body,
            fields=fields,
            model=model,
            stream=False,
            source=source,
            started_ns=self.clock.monotonic_ns(),
            max_cost_nanodollars=None,
            first_byte_ns=None,
            notes={},
        )
        try:
            async with self.handler(asked) as reply:
                attempts = attempts_of(asked)
                if reply.status != 200 or reply.whole is None or not attempts:
                    return None
                return Answered(reply.headers, reply.whole, attempts[-1])
        except FreeholdError:
            return None

    async def agreed(self, call: Call, model: str) -> list[Answered] | None:
        """Two answers of that model that are the same closed answer; `None`: they differ, or are open, or failed."""
        both = await asyncio.gather(self.ask(call, model, CASCADE), self.ask(call, model, CASCADE))
        first, second = both
        if first is None or second is None:
            return None
        answer = closed_answer(first.whole)
        return [first, second] if answer is not None and answer == closed_answer(second.whole) else None


class Shadows:
    """Judges a sample of answers. `share` of them, 0 to 1."""

    def __init__(
        self, asking: Asking, learning: Learning, samples: KeepsSamples, share: float, chance: Callable[[], float]
    ) -> None:
        self._asking = asking
        self._learning = learning
        self._samples = samples
        self._share = share
        self._chance = chance
        self._tasks: set[asyncio.Task[None]] = set()

    def renew(self, share: float) -> None:
        """From now on this part of the answers."""
        self._share = share

    async def load(self) -> None:
        """Learn again what was judged before."""
        for row in await self._samples.newest(_MOST_LOADED):
            self._learning.route(row.route).judge(unpacked(row.features), (row.length, row.numbers), row.loss)

    def draws(self) -> bool:
        """Whether the next answer belongs to the sample."""
        return self._share > 0 and self._chance() < self._share

    def judge(self, call: Call, signals: Signals, answer: bytes, models: tuple[str, str, str]) -> None:
        """Judge this answer, in the background. `models`: who gave it, the cheap one, the strong one."""
        if len(self._tasks) < _MOST_SHADOWS:
            task = asyncio.create_task(self._judge(call, signals, answer, models), name="shadow evaluation")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for those that are under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Give up those that are under way."""
        for task in self._tasks:
            task.cancel()
        await self.settle()

    async def _judge(self, call: Call, signals: Signals, answer: bytes, models: tuple[str, str, str]) -> None:
        by, cheap, strong = models
        mine = closed_answer(answer)
        if mine is None:
            return  # free text: nobody here can say which is better
        other = await self._asking.ask(call, strong if by == cheap else cheap, SHADOW)
        if other is None:
            return
        theirs = closed_answer(other.whole)
        if theirs is None and by == cheap:
            return
        loss = 0.0 if mine == theirs else 1.0
        features, shape, route = features_of(signals.text), shape_of(signals.text), route_name(call)
        self._learning.route(route).judge(features, shape, loss)
        now_us = self._asking.clock.now_us()
        caller = call.caller
        workspace = caller.workspace_id if caller is not None else ""
        self._samples.add(SampleRow(call.request_id, workspace, route, packed(features), *shape, loss, now_us))
