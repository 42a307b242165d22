"""What an upstream's batch gave for our items: their lines with our custom_ids, and a row of the record for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from freehold.batches import lines
from freehold.batches.answers import of_batch, saved, whole_input
from freehold.clock import Clock
from freehold.ids import NewId
from freehold.ledger.rates import Rates
from freehold.store.batch_work import Done
from freehold.store.batches import BatchRow
from freehold.store.calls import CallRow, TakesRows, add_call
from freehold.wire.facts import Facts, Usage
from freehold.wire.tap import of_whole

_NO_USAGE = Usage()


class _Result(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    custom_id: str
    result: _Result


class Collected:
    """Reads lines and keeps the record. `upstream` is the name that stands in it."""

    def __init__(self, store: TakesRows, rates: Rates, upstream: str, *, clock: Clock, ids: NewId) -> None:
        self._store = store
        self._rates = rates
        self._upstream = upstream
        self._clock = clock
        self._ids = ids

    def read(self, row: BatchRow, line: bytes) -> Done | None:
        """The item that a line is of, its raw message or error for a line; `None`: it is not of this batch."""
        try:
            found = msgspec.json.decode(line, type=_Line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        whose, _, place = found.custom_id.rpartition("-")
        if whose != row.id[-16:] or not place.isdigit():
            return None
        idx, kind = int(place), found.result.type
        if kind == "succeeded":
            return self._succeeded(row, idx, bytes(found.result.message))
        if kind == "errored":
            return Done(idx, 0, kind, bytes(found.result.error))
        return Done(idx, 0, kind, b"") if kind in ("canceled", "expired") else None

    def named(self, done: Done, custom_id: str) -> Done:
        """The same with its line whole; what we have refused ourselves is whole already."""
        if not done.line or done.line.startswith(b'{"custom_id":'):
            return done
        make = lines.succeeded if done.state == "succeeded" else lines.errored
        return replace(done, line=make(custom_id, done.line))

    def record(self, row: BatchRow, written: Sequence[Done]) -> None:
        """One row of the record for each, on the key that made the batch."""
        for one in written:
            if one.state in ("succeeded", "errored"):
                add_call(self._store, self._row(row, one))

    def _succeeded(self, row: BatchRow, idx: int, message: bytes) -> Done:
        facts = of_whole(200, message)
        usage = facts.usage or _NO_USAGE
        cost = None
        if facts.usage is not None:
            cost = self._rates.cost(facts.model, usage, self._clock.now_us(), batch=True)
        spared = 0
        if cost is not None:
            now_us = self._clock.now_us()
            spared = saved(lambda plain: self._rates.cost(facts.model, plain, now_us, batch=True), usage, cost)
        used, read = whole_input(usage), usage.cache_read_tokens
        return Done(idx, 0, "succeeded", message, used, usage.output_tokens, read, cost, None, spared)

    def _row(self, row: BatchRow, one: Done) -> CallRow:
        made_for = of_batch(row.id, row.workspace_id, row.key_id, msgspec.json.decode(row.headers, type=dict[str, str]))
        facts, now_us = self._facts(one), self._clock.now_us()
        usage = facts.usage or _NO_USAGE
        succeeded = one.state == "succeeded"
        return CallRow(
            id=self._ids("req"),
            workspace_id=row.workspace_id,
            key_id=row.key_id,
            session_id=None,
            user_id=made_for.user_id,
            task_type=made_for.task_type,
            source=made_for.source,
            route="messages",
            model_asked=facts.model,
            model_answered=facts.model,
            upstream=self._upstream,
            streamed=False,
            status=200 if succeeded else 400,
            error_type=None if succeeded else facts.error_type or "invalid_request_error",
            stop_reason=facts.stop_reason,
            attempts=1,
            input_tokens=usage.input_tokens if succeeded else None,
            output_tokens=usage.output_tokens if succeeded else None,
            cache_write_5m_tokens=usage.cache_write_5m_tokens if succeeded else None,
            cache_write_1h_tokens=usage.cache_write_1h_tokens if succeeded else None,
            cache_read_tokens=usage.cache_read_tokens if succeeded else None,
            web_searches=usage.web_searches if succeeded else None,
            cost_nanodollars=one.cost_nanodollars if succeeded else None,
            price_version=self._rates.version if succeeded and one.cost_nanodollars is not None else None,
            usage_known="exact" if facts.usage is not None else "none",
            latency_us=now_us - row.created_us,
            first_byte_us=None,
            upstream_request_id=None,
            started_us=row.created_us,
        )

    def _facts(self, one: Done) -> Facts:
        inner = msgspec.json.decode(one.line, type=_Line).result
        return of_whole(200, bytes(inner.message)) if one.state == "succeeded" else of_whole(400, bytes(inner.error))
