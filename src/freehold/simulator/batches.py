"""Message batches: created, worked off on the simulator's clock, cancelled, expired, read in another order, half price.

Nothing runs in the background: whoever asks makes the batch what it would be by now. Batches are kept in memory, so
many of them, and go 29 days after creation as the real ones do (Claude API docs, page "Message Batches", read
2026-11-23).
"""

from __future__ import annotations

import random
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from freehold.calls import Caller
from freehold.clock import Clock, rfc3339
from freehold.errors import Conflict, FreeholdError, InvalidRequest, NotFound
from freehold.simulator import listing
from freehold.simulator.claude import Asked, Claude
from freehold.simulator.model.ids import Source
from freehold.wire.envelopes import error_body

PREFIX = "/v1/messages/batches"
_EXPIRES_US = 24 * 3600 * 1_000_000
_KEPT_US = 29 * 24 * 3600 * 1_000_000
_CANCELING_US = 1_000_000
"""How long a batch stays `canceling`."""
_MOST_REQUESTS = 100_000
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_NOT_IN_BATCHES = ("stream", "speed", "thread", "fallbacks")


@dataclass(frozen=True, slots=True)
class BatchPace:
    """How long batches take: a start, then so many requests a second. Longer than 24 hours, and the rest expires."""

    start_s: float = 5.0
    requests_per_s: float = 20.0


@dataclass(slots=True)
class _Item:
    custom_id: str
    params: Any
    due_us: int


@dataclass(slots=True)
class _Batch:
    id: str
    caller: Caller
    created_us: int
    ids: Source
    pending: list[_Item]
    results: list[bytes] = field(default_factory=list)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("succeeded", "errored", "canceled", "expired"), 0)
    )
    total: int = 0
    canceled_us: int | None = None
    ended_us: int | None = None


class Batches:
    """All batches of one simulator."""

    def __init__(self, claude: Claude, clock: Clock, pace: BatchPace | None = None, most: int = 1_000) -> None:
        self._claude = claude
        self._clock = clock
        self._pace = pace or BatchPace()
        self._most = most
        self._batches: OrderedDict[str, _Batch] = OrderedDict()

    def answer(
        self, method: str, path: str, query: Mapping[str, list[str]], body: bytes, caller: Caller, origin: str
    ) -> dict[str, Any] | list[bytes]:
        """The answer to a call under `/v1/messages/batches`: an object, or the lines of the results."""
        batch_id, _, action = path.removeprefix(PREFIX).strip("/").partition("/")
        match method, bool(batch_id), action:
            case "POST", False, "":
                return self._show(self.create(body, caller), origin)
            case "GET", False, "":
                own = [one for one in reversed(self._batches.values()) if _visible(one, caller)]
                return listing.id_page([self._show(self._advance(one), origin) for one in own], query)
            case "GET", True, "":
                return self._show(self._find(batch_id, caller), origin)
            case "GET", True, "results":
                return self.results(batch_id, caller)
            case "POST", True, "cancel":
                return self._show(self.cancel(batch_id, caller), origin)
            case "DELETE", True, "":
                self.delete(batch_id, caller)
                return {"id": batch_id, "type": "message_batch_deleted"}
        raise NotFound(f"There is no {method} {path[:200]} here.")

    def create(self, body: bytes, caller: Caller) -> _Batch:
        """Take a batch in.

        Raises:
            InvalidRequest: the batch itself is wrong; a wrong request in it becomes an `errored` result later.
        """
        requests = _requests(body)
        now_us = self._clock.now_us()
        ids = self._claude.ids.source(caller.workspace_id, body)
        step_us = round(1_000_000 / max(self._pace.requests_per_s, 1e-6))
        start_us = now_us + round(self._pace.start_s * 1_000_000)
        items = [
            _Item(one["custom_id"], one["params"], start_us + index * step_us) for index, one in enumerate(requests)
        ]
        batch = _Batch(ids.new("msgbatch"), caller, now_us, ids, items, total=len(items))
        self._batches[batch.id] = batch
        if len(self._batches) > self._most:
            self._batches.popitem(last=False)
        return batch

    def cancel(self, batch_id: str, caller: Caller) -> _Batch:
        """Stop a batch: what is done stays, the rest is `canceled` a moment later. An ended one stays as it is."""
        batch = self._find(batch_id, caller)
        if batch.ended_us is None and batch.canceled_us is None:
            batch.canceled_us = self._clock.now_us()
        return self._advance(batch)

    def delete(self, batch_id: str, caller: Caller) -> None:
        """Forget a batch that has ended.

        Raises:
            Conflict: it has not.
        """
        batch = self._find(batch_id, caller)
        if batch.ended_us is None:
            raise Conflict(
                f"Message batch {batch_id} is still processing. Cancel it first, and wait until it has ended."
            )
        del self._batches[batch_id]

    def results(self, batch_id: str, caller: Caller) -> list[bytes]:
        """The results in an order of their own, one JSON line each.

        Raises:
            NotFound: the batch has not ended, or is archived.
        """
        batch = self._find(batch_id, caller)
        if batch.ended_us is None:
            raise NotFound(f"Message batch {batch_id} has no results yet: it has not ended.")
        if self._archived(batch):
            raise NotFound(f"The results of message batch {batch_id} are gone: they are kept for 29 days.")
        return batch.results

    def _find(self, batch_id: str, caller: Caller) -> _Batch:
        batch = self._batches.get(batch_id)
        if batch is None or not _visible(batch, caller):
            raise NotFound(f"There is no message batch {batch_id[:80]!r}.")
        return self._advance(batch)

    def _advance(self, batch: _Batch) -> _Batch:
        """Bring a batch to where it is by now."""
        if batch.ended_us is not None:
            return batch
        now_us = self._clock.now_us()
        stop_us = min(batch.created_us + _EXPIRES_US, batch.canceled_us or now_us + _EXPIRES_US)
        done = [item for item in batch.pending if item.due_us <= min(now_us, stop_us)]
        for item in done:
            self._work(batch, item)
        batch.pending = batch.pending[len(done) :]
        last_us = done[-1].due_us if done else batch.created_us
        if batch.pending and batch.canceled_us is not None and now_us >= batch.canceled_us + _CANCELING_US:
            self._close(batch, "canceled", batch.canceled_us + _CANCELING_US)
        elif batch.pending and now_us >= batch.created_us + _EXPIRES_US:
            self._close(batch, "expired", batch.created_us + _EXPIRES_US)
        elif not batch.pending:
            self._close(batch, "canceled", max(last_us, batch.canceled_us or 0))
        return batch

    def _close(self, batch: _Batch, reason: str, ended_us: int) -> None:
        for item in batch.pending:
            self._add(batch, item.custom_id, reason, {"type": reason})
        batch.pending = []
        batch.ended_us = ended_us
        random.Random(batch.ids.fraction("order")).shuffle(batch.results)

    def _work(self, batch: _Batch, item: _Item) -> None:
        request_id = batch.ids.new("req")
        try:
            params = _allowed(item.params)
            body = msgspec.json.encode(params)
            ids = self._claude.ids.source(batch.caller.workspace_id, body)
            asked = Asked(body, request_id, ids, batch.caller.workspace_id, batch.caller.key_id, batch=True)
            outcome = self._claude.message(asked, item.due_us)
        except FreeholdError as error:
            inner = msgspec.json.decode(error_body(error, request_id))
            self._add(batch, item.custom_id, "errored", {"type": "errored", "error": inner})
            return
        self._claude.begun(outcome, item.due_us)
        self._claude.billed(outcome, outcome.answer.output_tokens, item.due_us)
        self._add(batch, item.custom_id, "succeeded", {"type": "succeeded", "message": outcome.answer.message})

    def _add(self, batch: _Batch, custom_id: str, kind: str, result: dict[str, Any]) -> None:
        batch.counts[kind] += 1
        batch.results.append(msgspec.json.encode({"custom_id": custom_id, "result": result}))

    def _archived(self, batch: _Batch) -> bool:
        return self._clock.now_us() >= batch.created_us + _KEPT_US

    def _show(self, batch: _Batch, origin: str) -> dict[str, Any]:
        ended = batch.ended_us is not None
        status = "ended" if ended else "in_progress" if batch.canceled_us is None else "canceling"
        counts = (
            {"processing": 0, **batch.counts} if ended else dict.fromkeys(batch.counts, 0) | {"processing": batch.total}
        )
        gone = self._archived(batch)
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": counts,
            "created_at": rfc3339(batch.created_us),
            "expires_at": rfc3339(batch.created_us + _EXPIRES_US),
            "ended_at": _time(batch.ended_us),
            "cancel_initiated_at": _time(batch.canceled_us),
            "archived_at": _time(batch.created_us + _KEPT_US) if gone else None,
            "results_url": f"{origin}{PREFIX}/{batch.id}/results" if ended and not gone else None,
        }


def _time(us: int | None) -> str | None:
    return None if us is None else rfc3339(us)


def _visible(batch: _Batch, caller: Caller) -> bool:
    return batch.caller.workspace_id == caller.workspace_id


def _requests(body: bytes) -> list[dict[str, Any]]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {str(error)[:300]}") from None
    requests = value.get("requests") if isinstance(value, dict) else None
    if not isinstance(requests, list) or not requests:
        raise InvalidRequest("requests: Field required: a list of at least one request")
    if len(requests) > _MOST_REQUESTS:
        raise InvalidRequest(f"requests: List should have at most {_MOST_REQUESTS} items")
    seen = set()
    for index, one in enumerate(requests):
        custom_id = one.get("custom_id") if isinstance(one, dict) else None
        if not isinstance(custom_id, str) or not _CUSTOM_ID.match(custom_id):
            raise InvalidRequest(f"requests.{index}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
        if custom_id in seen:
            raise InvalidRequest(f"requests.{index}.custom_id: {custom_id!r} is not unique in the batch")
        if not isinstance(one.get("params"), dict):
            raise InvalidRequest(f"requests.{index}.params: Field required")
        seen.add(custom_id)
    return requests


def _allowed(params: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in _NOT_IN_BATCHES:
        if params.get(name):
            raise InvalidRequest(f"{name}: not supported in message batches")
    if params.get("max_tokens") == 0:
        raise InvalidRequest("max_tokens: 0 is not supported in message batches")
    return params
