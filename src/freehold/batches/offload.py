"""Deadline offload: calls that may wait become batches at half price, and are asked after all when a deadline nears.

A call is held until others like it have come (same workspace, key and headers), for `hold_s` at most, and no longer
than a batch can still answer it in time: a batch is expected to take as long as 70 in 100 of the newest ones have. (An
answer in time costs half, one that is asked after all once and a half: a batch pays when half of them come in time.)
What has not been answered `reserve_s` before its deadline is asked interactively; whichever answer comes first stands.
A call whose deadline is too near for a batch is asked at once, as is every one where batches cost no less.

Rows say what is done (`store/deferred.py`), so any number of processes may run this, and a killed one costs the calls
that it had open.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from freehold.batches.answers import of_batch
from freehold.batches.lifecycle import EXPIRES_US
from freehold.batches.requests import call_of
from freehold.batches.watching import alone, watching
from freehold.calls import Handler, NotAnswered
from freehold.clock import Clock
from freehold.errors import FreeholdError, Unavailable
from freehold.ids import NewId
from freehold.store.batches import BatchRow
from freehold.store.deferred import KIND, WAKE, DeferredRow, DeferredRows, Ended, Held
from freehold.store.engine import Store
from freehold.wire.envelopes import STATUS_BY_TYPE, error_body

log = logging.getLogger(__name__)

FULL_CALLS = 5_000
FULL_BYTES = 64 << 20
"""A group so large is sent at once, and no batch is larger."""
ASKED_AT_ONCE = 32
LOOK_S = 1.0
_LOOKED_AT = 10_000
_KEPT_US = 29 * 24 * 3600 * 1_000_000
_EXPECTED = 0.7
_SEEN_LEAST = 20
_SEEN_MOST = 200
_FINAL = ("invalid_request_error", "not_found_error", "permission_error", "request_too_large")
"""Errors of a batch's item that would come again; after others the call is asked interactively."""


@dataclass(frozen=True, slots=True)
class OffloadPlan:
    """How long is waited for what; all in seconds. `batches` is false where the upstream has none that cost less."""

    hold_s: float
    reserve_s: float
    batch_s: float
    batches: bool


class Offload:
    """The work on deferred calls in one process. `run`, or `look` by hand; `stop` in the end."""

    def __init__(
        self, store: Store, rows: DeferredRows, handler: Handler, plan: OffloadPlan, *, clock: Clock, ids: NewId
    ) -> None:
        self._store = store
        self._rows = rows
        self._handler = handler
        self._plan = plan
        self._clock = clock
        self._ids = ids
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._forgot_us = 0

    async def run(self) -> None:
        """For ever."""
        await watching(self._store, WAKE, self.look, LOOK_S, "deferred calls")

    async def stop(self) -> None:
        """Break off what is open; others, or the next start, ask again."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def look(self) -> None:
        """Once: collect, send what should go, ask what must be asked."""
        if not self._asking and not await self._rows.any_open():
            await self._forget()
            return
        for ended in await self._rows.ended(500):
            with alone(f"the answer of {ended.id}"):
                await self._collect(ended)
        await self._send()
        await self._ask()
        await self._forget()

    async def idle(self) -> None:
        """Return when nothing is being asked here."""
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    # What batches gave.

    async def _collect(self, ended: Ended) -> None:
        if ended.line is not None:
            result = msgspec.json.decode(ended.line, type=_Line).result
            if result.type == "succeeded":
                await self._finish(ended.id, 200, bytes(result.message), "batch")
                return
            kind = msgspec.json.decode(result.error, type=_Envelope).error.type
            if kind in _FINAL:
                await self._finish(ended.id, STATUS_BY_TYPE.get(kind, 400), bytes(result.error), "batch")
                return
        await self._rows.back(ended.id)

    async def _finish(self, call_id: str, status: int, answer: bytes, via: str) -> None:
        await self._rows.finish(call_id, status, answer, via, self._clock.now_us())

    # Sending.

    async def _send(self) -> None:
        held = await self._rows.held(_LOOKED_AT)
        if not held:
            return
        now_us = self._clock.now_us()
        latest_us = now_us + await self._needed_us()
        hopeless = [one.id for one in held if not self._plan.batches or one.deadline_us < latest_us]
        if hopeless:
            await self._rows.promote(hopeless)
        groups: dict[tuple[str, str, str], list[Held]] = defaultdict(list)
        for one in held:
            if self._plan.batches and one.deadline_us >= latest_us:
                groups[one.workspace_id, one.key_id, one.headers].append(one)
        for group in groups.values():
            if self._is_ripe(group, now_us, latest_us):
                for part in _parts(sorted(group, key=lambda one: (one.prefix, one.created_us))):
                    await self._make(part)

    def _is_ripe(self, group: Sequence[Held], now_us: int, latest_us: int) -> bool:
        """Full, or its oldest has waited long enough, or its most urgent may wait no longer."""
        hold_us = round(self._plan.hold_s * 1_000_000)
        soon_us = latest_us + round(2 * LOOK_S * 1_000_000) + hold_us // 10
        return (
            len(group) >= FULL_CALLS
            or sum(one.size_bytes for one in group) >= FULL_BYTES
            or now_us - min(one.created_us for one in group) >= hold_us
            or min(one.deadline_us for one in group) <= soon_us
        )

    async def _make(self, calls: Sequence[Held]) -> None:
        first, now_us = calls[0], self._clock.now_us()
        batch = BatchRow(
            id=self._ids("msgbatch"),
            workspace_id=first.workspace_id,
            key_id=first.key_id,
            engine="upstream",
            headers=first.headers,
            total=len(calls),
            size_bytes=sum(one.size_bytes for one in calls),
            created_us=now_us,
            expires_us=now_us + EXPIRES_US,
            kind=KIND,
            status="in_progress",
        )
        await self._rows.send(batch, calls)

    async def _needed_us(self) -> int:
        """From sending a call in a batch to its deadline, at least."""
        took = sorted(await self._rows.took_us(_SEEN_MOST))
        expected_s = self._plan.batch_s
        if len(took) >= _SEEN_LEAST:
            expected_s = took[int(_EXPECTED * (len(took) - 1))] / 1_000_000
        return round((expected_s + self._plan.reserve_s) * 1_000_000)

    # Asking.

    async def _ask(self) -> None:
        now_us = self._clock.now_us()
        if self._asking:
            await self._rows.renew(list(self._asking), now_us)
        room = ASKED_AT_ONCE - len(self._asking)
        if room <= 0:
            return
        before_us = now_us + round(self._plan.reserve_s * 1_000_000)
        for row in await self._rows.take_due(before_us, now_us=now_us, most=room):
            task = asyncio.create_task(self._answer(row))
            self._asking[row.id] = task
            task.add_done_callback(partial(self._asked_out, row.id))

    def _asked_out(self, call_id: str, _: asyncio.Task[None]) -> None:
        self._asking.pop(call_id, None)

    async def _answer(self, row: DeferredRow) -> None:
        try:
            status, answer = await self._asked(row)
            await self._finish(row.id, status, answer, "interactive")
        except Unavailable as error:
            log.warning("%s could not be kept: %s", row.id, error.message)
        except Exception:  # the outer edge of a job
            log.exception("asking %s failed inside the server; it is asked again", row.id)
        finally:
            self._store.wakes.signal([WAKE])

    async def _asked(self, row: DeferredRow) -> tuple[int, bytes]:
        request_id, started_ns = self._ids("req"), self._clock.monotonic_ns()
        kept = msgspec.json.decode(row.headers, type=dict[str, str])
        made_for = of_batch("", row.workspace_id, row.key_id, kept)
        try:
            call = call_of(row.params, made_for, request_id=request_id, started_ns=started_ns)
            call.batch_id = None
            call.deadline_ns = started_ns + max(0, row.deadline_us - self._clock.now_us()) * 1_000
            async with self._handler(call) as reply:
                if reply.whole is None:
                    raise FreeholdError("The upstream answered with a stream that nobody asked for.")
                return reply.status, reply.whole
        except NotAnswered as error:
            return error.cause.status, error_body(error.cause, request_id)
        except FreeholdError as error:
            return error.status, error_body(error, request_id)

    async def _forget(self) -> None:
        now_us = self._clock.now_us()
        if now_us - self._forgot_us > 3600 * 1_000_000:
            self._forgot_us = now_us
            await self._rows.forget(now_us - _KEPT_US)


class _Result(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"{}")


class _Line(msgspec.Struct):
    result: _Result


class _Inner(msgspec.Struct):
    type: str = ""


class _Envelope(msgspec.Struct):
    error: _Inner = msgspec.field(default_factory=_Inner)


def _parts(calls: Sequence[Held]) -> list[list[Held]]:
    parts: list[list[Held]] = [[]]
    size_bytes = 0
    for one in calls:
        if parts[-1] and (len(parts[-1]) >= FULL_CALLS or size_bytes + one.size_bytes > FULL_BYTES):
            parts.append([])
            size_bytes = 0
        parts[-1].append(one)
        size_bytes += one.size_bytes
    return parts
