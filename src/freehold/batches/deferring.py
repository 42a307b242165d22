"""A Messages call that may be answered later: taken in, and waited for or told where to poll. For clients that say so.

    x-freehold-offload: batch         the opt-in; without it nothing here happens
    x-freehold-deadline-s: 7200       until when the answer must be there
    prefer: respond-async             answered 202 at once, with an id; without it the connection is held

It stands around the pipeline, for the hot route alone: what is deferred goes through the pipeline later, as an item of
a batch or as a call of its own (`batches/offload.py`).
"""

from __future__ import annotations

import json
from types import TracebackType
from typing import Protocol

import msgspec

from freehold.batches.lifecycle import kept_headers
from freehold.batches.payers import Payers
from freehold.batches.prefixes import prefixes
from freehold.batches.requests import check
from freehold.calls import Call, Caller, Handler, Headers, Reply
from freehold.clock import Clock
from freehold.errors import InvalidRequest, RateLimited
from freehold.ids import NewId
from freehold.store.deferred import DeferredRow, DeferredRows
from freehold.store.engine import Store

MOST_OPEN = 100_000
"""Calls of one workspace that wait for an answer."""
POLL = "/freehold/v1/deferred"
_LOOK_S = 5.0
_JSON = (b"content-type", b"application/json")


class ChecksKeys(Protocol):
    """Tells who sends these headers (`access.keys.Keys`)."""

    def check(self, headers: Headers) -> Caller:
        """The caller. Raises `Unauthenticated`."""
        ...


class Deferring:
    """A middleware; calls that do not ask for it cost one look into an empty dict."""

    def __init__(
        self, rows: DeferredRows, store: Store, keys: ChecksKeys, payers: Payers, *, clock: Clock, ids: NewId
    ) -> None:
        self._rows = rows
        self._store = store
        self._keys = keys
        self._payers = payers
        self._clock = clock
        self._ids = ids

    def __call__(self, inner: Handler) -> Handler:
        """See `Middleware`."""

        def handle(call: Call) -> object:
            return _Deferred(self, call) if "offload" in call.notes and call.refused is None else inner(call)

        return handle  # type: ignore[return-value]

    async def take(self, call: Call) -> DeferredRow:
        """Keep the call: from here on it is answered whatever happens to this process.

        Raises:
            Unauthenticated: the key is not one of ours.
            InvalidRequest: no deadline, a stream, or something that no batch takes.
            RateLimited: too many of the workspace wait.
        """
        caller = self._keys.check(call.headers)
        if call.route != "messages":
            raise InvalidRequest("x-freehold-offload: is for /v1/messages.")
        if call.deadline_ns is None:
            raise InvalidRequest(
                "x-freehold-offload: needs x-freehold-deadline-s, the seconds until the answer must be there."
            )
        if call.max_cost_nanodollars is not None:
            raise InvalidRequest("x-freehold-max-cost-usd: is not taken with x-freehold-offload.")
        check(call.body)
        if await self._rows.open(caller.workspace_id) >= MOST_OPEN:
            raise RateLimited(f"{MOST_OPEN:,} calls of this workspace wait for an answer already; try again later.")
        now_us = self._clock.now_us()
        row = DeferredRow(
            id=self._ids("dfr"),
            workspace_id=caller.workspace_id,
            key_id=caller.key_id,
            headers=json.dumps(kept_headers(_texts(call.headers)), sort_keys=True),
            prefix=next((name.hex() for name in prefixes(call.body)), ""),
            params=call.body,
            promoted=await self._payers.limited(caller, call.user_id),  # a batch could not be held to the budget
            created_us=now_us,
            deadline_us=now_us + (call.deadline_ns - self._clock.monotonic_ns()) // 1_000,
        )
        await self._rows.add(row)
        return row

    async def done(self, row: DeferredRow) -> DeferredRow:
        """Wait until it is answered."""
        while True:
            seen = self._store.wakes.version(row.id)
            now = await self._rows.get(row.workspace_id, row.id)
            if now.state == "done":
                return now
            await self._store.wakes.changed(row.id, seen, _LOOK_S)


class _Deferred:
    """The context of one reply."""

    __slots__ = ("_call", "_deferring")

    def __init__(self, deferring: Deferring, call: Call) -> None:
        self._deferring = deferring
        self._call = call

    async def __aenter__(self) -> Reply:
        row = await self._deferring.take(self._call)
        if _prefers_async(self._call.headers):
            headers = [_JSON, (b"preference-applied", b"respond-async"), (b"location", f"{POLL}/{row.id}".encode())]
            return Reply(202, headers, whole=msgspec.json.encode(shown(row)))
        done = await self._deferring.done(row)
        via = (done.via or "").encode()
        return Reply(done.status or 500, [_JSON, (b"x-freehold-deferred", via)], whole=done.answer or b"")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def shown(row: DeferredRow) -> dict[str, object]:
    """How such a call is shown while it waits, and when it is done."""
    return {
        "type": "deferred_message",
        "id": row.id,
        "state": "done" if row.state == "done" else "waiting",
        "via": row.via,
        "status": row.status,
        "answer": None if row.answer is None else msgspec.Raw(row.answer),
        "poll_url": f"{POLL}/{row.id}",
    }


def _prefers_async(headers: Headers) -> bool:
    return any(
        name == b"prefer" and any(one.strip().lower() == b"respond-async" for one in value.split(b","))
        for name, value in headers
    )


def _texts(headers: Headers) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
