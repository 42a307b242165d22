"""What a client can do with its batches: make, look at, list, cancel, resume, delete, read. The API's one door here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import IO, Protocol

import msgspec

from freehold.batches import lines
from freehold.batches.estimates import Estimate, Estimates, stored
from freehold.batches.intake import Request, Spool, left_to_us, parse, store_items
from freehold.batches.keeper import KEPT_US
from freehold.batches.kinds import kind_of
from freehold.batches.payers import Payers, cap_of
from freehold.calls import Caller
from freehold.clock import Clock
from freehold.errors import InvalidRequest, NotFound
from freehold.ids import NewId
from freehold.store.batches import BatchRow, BatchRows, Engine

EXPIRES_US = 24 * 3600 * 1_000_000
"""Claude API docs, page "Batch processing", read 2026-11-23."""
KEPT_HEADERS = (
    "anthropic-beta",
    "anthropic-version",
    "anthropic-user-profile-id",
    "x-freehold-user-id",
    "x-freehold-task-type",
    "x-freehold-source",
)
"""Headers of the request that makes a batch which hold for each of its calls."""
_MOST_HEADER_CHARS = 4096
_CAP = "x-freehold-max-cost-usd"


class Chooser(Protocol):
    """Gives the engine of a batch; see `choice.py`."""

    def __call__(self, deadline_s: float | None, limited: bool, left: str | None = None) -> Engine:
        """The engine. Raises `InvalidRequest`: the one that the operator wants cannot do it."""
        ...


class Batches:
    """Batches of all workspaces. `scratch` gives a file without a name, `choose` the engine of a new batch. `aliases`:
    names of models that are chosen here.
    """

    def __init__(
        self,
        rows: BatchRows,
        *,
        clock: Clock,
        ids: NewId,
        scratch: Callable[[], IO[bytes]],
        choose: Chooser,
        aliases: Callable[[], Collection[str]] = tuple,
        estimates: Estimates,
        payers: Payers,
    ) -> None:
        self.rows = rows
        self.estimates = estimates
        self._payers = payers
        self._clock = clock
        self._ids = ids
        self._scratch = scratch
        self._choose = choose
        self._aliases = aliases

    async def create(self, chunks: AsyncIterator[bytes], caller: Caller, headers: Mapping[str, str]) -> BatchRow:
        """Take a batch in: it is shown, and worked on, when all of it is in the store.

        Raises:
            InvalidRequest: the envelope, a custom_id or a header is wrong.
        """
        deadline_s, cap = _deadline_s(headers), cap_of(headers.get(_CAP))
        kept = kept_headers(headers)
        limited = cap is not None or await self._payers.limited(caller, kept.get("x-freehold-user-id"))
        spool = Spool(self._scratch)
        try:
            await spool.take(chunks)
            body = spool.view()
            requests = parse(body)
            left = left_to_us(body, requests, self._aliases())
            now_us, engine = self._clock.now_us(), self._choose(deadline_s, limited, left)
            kind = kind_of(requests, kept.get("x-freehold-task-type"))
            expected = await self.estimates.at_making(requests, caller.workspace_id, kind, halved=engine == "upstream")
            row = BatchRow(
                id=self._ids("msgbatch"),
                workspace_id=caller.workspace_id,
                key_id=caller.key_id,
                engine=engine,
                headers=msgspec.json.encode(kept).decode(),
                total=len(requests),
                size_bytes=sum(len(memoryview(request.params)) for request in requests),
                created_us=now_us,
                expires_us=now_us + EXPIRES_US,
                kind=kind,
                forecast=None if expected is None else stored(expected),
            )
            await self._store(row, requests, cap)
        finally:
            spool.close()
        return await self.rows.get(caller.workspace_id, row.id)

    async def _store(self, row: BatchRow, requests: Sequence[Request], cap: int | None) -> None:
        if cap is None:
            await store_items(self.rows, row, requests)
            return
        budget_id = await self._payers.cap(row.workspace_id, row.id, cap)
        try:
            await store_items(self.rows, row, requests)
        except BaseException:
            await asyncio.shield(self._payers.uncap(row.workspace_id, budget_id))
            raise

    async def estimate(
        self, chunks: AsyncIterator[bytes], caller: Caller, headers: Mapping[str, str]
    ) -> tuple[Estimate, Engine]:
        """What a batch of these requests would cost, and who would work on it; nothing is made. Raises as `create`."""
        kept = kept_headers(headers)
        limited = headers.get(_CAP) is not None or await self._payers.limited(caller, kept.get("x-freehold-user-id"))
        spool = Spool(self._scratch)
        try:
            await spool.take(chunks)
            body = spool.view()
            requests, kind = parse(body), kept.get("x-freehold-task-type")
            left = left_to_us(body, requests, self._aliases())
            engine = self._choose(_deadline_s(headers), limited, left)
            return await self.estimates.before(requests, caller, kind, halved=engine == "upstream"), engine
        finally:
            spool.close()

    async def cancel(self, workspace_id: str, batch_id: str) -> BatchRow:
        """Begin to cancel. Calls that are open are brought to their end; a batch that has ended stays as it is."""
        return await self.rows.cancel(workspace_id, batch_id, self._clock.now_us())

    def archived(self, row: BatchRow) -> bool:
        """Its results are gone."""
        return self._clock.now_us() >= row.created_us + KEPT_US

    async def results(self, workspace_id: str, batch_id: str) -> AsyncIterator[bytes]:
        """The results, a bounded piece at a time, each a number of whole lines.

        Raises:
            NotFound: there is no such batch, it has not ended, or its results are gone.
        """
        row = await self.rows.get(workspace_id, batch_id)
        if row.status != "ended":
            raise NotFound(f"Message batch {batch_id} has no results yet: it has not ended.")
        if self.archived(row):
            raise NotFound(f"The results of message batch {batch_id} are gone: they are kept for 29 days.")
        return self._pieces(batch_id)

    async def _pieces(self, batch_id: str) -> AsyncIterator[bytes]:
        async for found in self.rows.results(batch_id):
            whole = [lines.unfinished(name, state) if line is None else line for name, state, line in found]
            yield b"\n".join(whole) + b"\n"


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of `headers` (names in lower case) that hold for every call of the batch.

    Raises:
        InvalidRequest: one is too long.
    """
    kept = {name: headers[name] for name in KEPT_HEADERS if name in headers}
    if "x-freehold-source" not in kept and "x-request-source" in headers:
        kept["x-freehold-source"] = headers["x-request-source"]
    for name, value in kept.items():
        if len(value) > _MOST_HEADER_CHARS:
            raise InvalidRequest(f"{name}: has {len(value)} characters; at most {_MOST_HEADER_CHARS} are taken.")
    return kept


def _deadline_s(headers: Mapping[str, str]) -> float | None:
    text = headers.get("x-freehold-deadline-s")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= EXPIRES_US / 1_000_000:
        raise InvalidRequest("x-freehold-deadline-s: must be a number of seconds, more than 0 and at most 86400.")
    return seconds
