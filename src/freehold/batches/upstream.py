"""The upstream engine: batches become batches of the upstream's own, in chunks, at its price for them.

One step of one chunk at a time: plan, submit, look (ever more seldom), collect. What is done stands in the store before
and after each step, so that any process goes on where another died. A chunk that may or may not have been submitted is
looked for among the upstream's newest batches before it is sent again; whose it is shows in its custom_ids.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from freehold.batches import lines
from freehold.batches.answers import of_batch
from freehold.batches.collected import Collected
from freehold.batches.requests import check
from freehold.batches.watching import alone, watching
from freehold.calls import NotAnswered
from freehold.clock import Clock, parse_rfc3339
from freehold.errors import FreeholdError, Unavailable
from freehold.ids import NewId
from freehold.jobs import chaos
from freehold.store import batch_chunks, batch_work
from freehold.store.base import Connection
from freehold.store.batch_chunks import Chunk
from freehold.store.batch_work import Done
from freehold.store.batches import WAKE, BatchRow
from freehold.store.engine import Store
from freehold.store.webhooks import WAKE as WEBHOOKS
from freehold.upstreams.base import RunsBatches

log = logging.getLogger(__name__)

CHUNK_ITEMS = 5_000
CHUNK_BYTES = 16 << 20
"""A chunk is in memory while it is sent; Anthropic would take 100,000 requests and 256 MB."""
LOADED_AT_ONCE = 500
WRITTEN_AT_ONCE = 500
LOOK_S = 1.0
_FIRST_POLL_S = 2.0
_PATIENCE = 1.5
_MISSED_US = 120 * 1_000_000
"""Clocks differ: a batch that was made so much before we sent it may still be ours."""
_PAUSES = (401, 402, 403, 404, 405, 501)
"""The upstream will not take any chunk: the operator has to do something first."""


class UpstreamEngine:
    """Drives the chunks of every batch whose engine is the upstream. Any number of processes may run it."""

    def __init__(
        self,
        store: Store,
        owner: str,
        upstream: RunsBatches,
        collected: Collected,
        *,
        clock: Clock,
        ids: NewId,
        poll_s: float,
        chunk_items: int = CHUNK_ITEMS,
    ) -> None:
        self._store = store
        self._owner = owner
        self._upstream = upstream
        self._collected = collected
        self._clock = clock
        self._ids = ids
        self._poll_s = poll_s
        self._chunk_items = chunk_items

    async def run(self) -> None:
        """For ever."""
        await watching(self._store, WAKE, self.look, LOOK_S, "batches of the upstream")

    async def look(self) -> None:
        """Make every step that is due."""

        async def op(connection: Connection) -> tuple[list[BatchRow], batch_chunks.Stand]:
            mine = [row for row in await batch_work.active(connection) if row.engine == "upstream"]
            return mine, await batch_chunks.stand(connection, [row.id for row in mine], now_us=self._clock.now_us())

        mine, (planned, due) = await self._store.look(op)
        for row in mine:
            if row.id in due or row.id not in planned:
                with alone(f"a step of {row.id}"):
                    await self._plan(row)
                    while (chunk := await self._take(row)) is not None and await self._step(row, chunk):
                        pass

    async def _plan(self, row: BatchRow) -> None:
        async def op(connection: Connection) -> None:
            await batch_chunks.plan(connection, row.id, most_items=self._chunk_items, most_bytes=CHUNK_BYTES)

        await self._store.write(op)

    async def _take(self, row: BatchRow) -> Chunk | None:
        if row.paused_why:
            return None

        async def op(connection: Connection) -> Chunk | None:
            return await batch_chunks.take(connection, row.id, self._owner, now_us=self._clock.now_us())

        return await self._store.write(op)

    async def _step(self, row: BatchRow, chunk: Chunk) -> bool:
        """Make one step; whether the batch's next chunk may follow at once."""
        try:
            if chunk.state == "submitted":
                await self._poll(row, chunk)
            elif chunk.state == "planned":
                await self._submit(row, chunk)
            else:
                await self._find_or_submit(row, chunk)
        except NotAnswered as error:
            await self._later(chunk, error.cause)
            return False
        except Unavailable:
            raise
        except FreeholdError as error:
            if error.status in _PAUSES:
                await self._pause(row, chunk, error)
            else:
                await self._later(chunk, error)
            return False
        return True

    # Submitting.

    async def _submit(self, row: BatchRow, chunk: Chunk) -> None:
        async with self._store.read() as connection:
            items = await batch_chunks.waiting(connection, chunk)
        if not items or row.status != "in_progress":
            await self._change(chunk, state="done" if not items else "planned", next_us=self._soon_us(LOOK_S))
            return
        bodies, refused = await self._bodies(row, items)
        if refused:
            await self._finish(row, chunk, refused)
        if not bodies:
            await self._change(chunk, state="done")
            return
        now_us = self._clock.now_us()
        if not await self._change(chunk, keep=True, state="submitting", submitting_us=now_us):
            return
        chaos.point("chunk_submitting")
        await self._send(row, chunk, bodies)

    async def _send(self, row: BatchRow, chunk: Chunk, bodies: Sequence[bytes]) -> None:
        kept = of_batch(row.id, row.workspace_id, row.key_id, msgspec.json.decode(row.headers, type=dict[str, str]))
        body = b'{"requests":[' + b",".join(bodies) + b"]}"
        try:
            made = await self._upstream.create_batch(body, kept.headers)
        except FreeholdError as error:
            if error.status in (400, 413) and not isinstance(error, Unavailable):
                await self._refuse_whole(row, chunk, error)
                return
            await self._change(chunk, keep=True, state="planned")
            raise
        chaos.point("chunk_sent")
        await self._submitted(chunk, str(made["id"]))

    async def _submitted(self, chunk: Chunk, upstream_id: str) -> None:
        next_us = self._soon_us(min(_FIRST_POLL_S, self._poll_s))

        async def op(connection: Connection) -> None:
            values = {"state": "submitted", "upstream_id": upstream_id, "polls": 0, "next_us": next_us}
            if await batch_chunks.change(connection, chunk, now_us=self._clock.now_us(), keep=False, **values):
                await batch_chunks.hand_over(connection, chunk)

        await self._store.write(op)

    async def _find_or_submit(self, row: BatchRow, chunk: Chunk) -> None:
        """It was about to be sent when its sender died: perhaps it is there."""
        async with self._store.read() as connection:
            count = len(await batch_chunks.waiting(connection, chunk))
        recent = await self._upstream.recent_batches()
        since_us = (chunk.submitting_us or 0) - _MISSED_US
        alike = [
            str(one["id"])
            for one in recent
            if sum(one["request_counts"].values()) == count and parse_rfc3339(one["created_at"]) >= since_us
        ]
        async with self._store.read() as connection:
            known = await batch_chunks.upstream_ids(connection, alike)
        unknown = [one for one in alike if one not in known]
        if unknown:
            log.info("chunk %d of %s was found at the upstream as %s", chunk.number, row.id, unknown[-1])
            await self._submitted(chunk, unknown[-1])
        else:
            await self._change(chunk, state="planned", next_us=0)

    async def _bodies(self, row: BatchRow, items: Sequence[tuple[int, str]]) -> tuple[list[bytes], list[Done]]:
        """The requests of a chunk as the upstream gets them, and those that no batch takes."""
        bodies, refused = [], []
        for start in range(0, len(items), LOADED_AT_ONCE):
            part = items[start : start + LOADED_AT_ONCE]
            async with self._store.read() as connection:
                params = await batch_work.params(connection, row.id, [idx for idx, _ in part])
            for idx, custom_id in part:
                try:
                    check(params[idx])
                except FreeholdError as error:
                    refused.append(Done(idx, 0, "errored", lines.refused(custom_id, error, self._ids("req"))))
                    continue
                sent = self._upstream.batch_params(params[idx])
                bodies.append(b'{"custom_id":"%b","params":%b}' % (token(row.id, idx).encode(), sent))
        return bodies, refused

    async def _refuse_whole(self, row: BatchRow, chunk: Chunk, error: FreeholdError) -> None:
        async with self._store.read() as connection:
            items = await batch_chunks.waiting(connection, chunk)
        refused = [Done(idx, 0, "errored", lines.refused(name, error, self._ids("req"))) for idx, name in items]
        await self._finish(row, chunk, refused)
        await self._change(chunk, state="done")

    # Looking and collecting.

    async def _poll(self, row: BatchRow, chunk: Chunk) -> None:
        assert chunk.upstream_id is not None
        seen = await self._upstream.batch(chunk.upstream_id)
        if seen["processing_status"] == "ended":
            await self._collect(row, chunk, chunk.upstream_id)
            return
        if row.status == "canceling" and seen["processing_status"] == "in_progress":
            await self._upstream.cancel_batch(chunk.upstream_id)
        wait_s = min(self._poll_s, _FIRST_POLL_S * _PATIENCE ** min(chunk.polls, 20))
        if row.status == "canceling":
            wait_s = min(wait_s, _FIRST_POLL_S)
        await self._change(chunk, polls=chunk.polls + 1, next_us=self._soon_us(wait_s))

    async def _collect(self, row: BatchRow, chunk: Chunk, upstream_id: str) -> None:
        group: list[Done] = []
        async for line in self._upstream.batch_results(upstream_id):
            if not line.strip():
                continue
            done = self._collected.read(row, line)
            if done is None or not chunk.first_idx <= done.idx <= chunk.last_idx:
                log.warning("%s is not the batch that chunk %d of %s was", upstream_id, chunk.number, row.id)
                await self._change(chunk, state="planned", upstream_id=None, next_us=0)
                return
            group.append(done)
            if len(group) >= WRITTEN_AT_ONCE:
                if not await self._finish(row, chunk, group):
                    return
                chaos.point("chunk_collecting")
                group = []
        await self._finish(row, chunk, group)
        await self._close(row, chunk)

    async def _close(self, row: BatchRow, chunk: Chunk) -> None:
        """Nothing more will come for this chunk: an item without a result gets an error for one."""
        async with self._store.read() as connection:
            left = await batch_chunks.waiting(connection, chunk)
        error = FreeholdError("The upstream's batch ended without a result for this request.")
        missing = [Done(idx, 0, "errored", lines.refused(name, error, self._ids("req"))) for idx, name in left]
        await self._finish(row, chunk, missing)
        await self._change(chunk, state="done")

    async def _finish(self, row: BatchRow, chunk: Chunk, done: Sequence[Done]) -> bool:
        """Write results of the chunk, those that are not there yet; false if the chunk is no longer ours."""
        written: list[Done] = []

        async def op(connection: Connection) -> bool:
            now_us = self._clock.now_us()
            open_ = await batch_chunks.still_open(connection, row.id, [one.idx for one in done])
            written[:] = [self._collected.named(one, open_[one.idx]) for one in done if one.idx in open_]
            if not await batch_chunks.change(connection, chunk, now_us=now_us, keep=True):
                written.clear()
                return False
            if written:
                await batch_work.finish(self._store, connection, row.id, written, now_us=now_us, ids=self._ids)
            return True

        if not done:
            return True
        ours = await self._store.write(op, wake=[row.id, WEBHOOKS])
        self._collected.record(row, written)
        return ours

    # What else can happen.

    async def _later(self, chunk: Chunk, error: FreeholdError) -> None:
        try:
            asked_s = float(error.headers.get("retry-after", "0"))
        except ValueError:
            asked_s = 0.0
        wait_s = max(asked_s, min(self._poll_s, _FIRST_POLL_S * _PATIENCE ** min(chunk.attempt, 20)))
        log.warning("chunk %d of %s waits %.0f s: %s", chunk.number, chunk.batch_id, wait_s, error.message)
        await self._change(chunk, next_us=self._soon_us(wait_s))

    async def _pause(self, row: BatchRow, chunk: Chunk, error: FreeholdError) -> None:
        why = f"The upstream does not take it: {error.message}"
        log.error("%s pauses. %s", row.id, why)

        async def op(connection: Connection) -> None:
            await batch_chunks.change(connection, chunk, now_us=self._clock.now_us(), keep=False)
            await batch_work.pause(connection, row.id, why)

        await self._store.write(op, wake=[row.id])

    async def _change(self, chunk: Chunk, *, keep: bool = False, **values: object) -> bool:
        if not values:
            raise AssertionError("nothing to change")

        async def op(connection: Connection) -> bool:
            return await batch_chunks.change(connection, chunk, now_us=self._clock.now_us(), keep=keep, **values)

        return await asyncio.shield(self._store.write(op))

    def _soon_us(self, seconds: float) -> int:
        return self._clock.now_us() + round(seconds * 1_000_000)


def token(batch_id: str, idx: int) -> str:
    """The custom_id that an item has at the upstream: it tells whose it is without a look at the store."""
    return f"{batch_id[-16:]}-{idx}"
