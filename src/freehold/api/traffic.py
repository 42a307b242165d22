"""`GET /freehold/v1/traffic`: calls, cost, latency and failures over time, for whoever watches a workspace.

Counts and sums are exact. Percentiles of latency are bounds from a histogram: the true value lies in the same class.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.clock import Clock, parse_rfc3339, rfc3339
from freehold.errors import InvalidRequest, PermissionDenied
from freehold.store.call_sums import LATENCY_CLASSES_MS
from freehold.store.engine import Store
from freehold.store.traffic import Group, groups

WIDTHS_S = {"1m": 60, "10m": 600, "1h": 3_600, "1d": 86_400}
MOST_BUCKETS = 200
_SETTLED_US = 3_600_000_000
"""A bucket that ended so long ago rarely changes: only by a call that took longer."""
_KEPT_US = 600_000_000
_MOST_KEPT = 4096
_SUMS = ("calls", "cost_nanodollars", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


def routes(store: Store, *, clock: Clock) -> list[BaseRoute]:
    """The route."""
    past = _Past(store, clock)

    async def traffic(request: Request) -> Response:
        query = request.query
        width_us = WIDTHS_S[query.one_of("bucket_width", tuple(WIDTHS_S), "1h")] * 1_000_000
        start, end = _time(query.text("starting_at"), "starting_at"), _time(query.text("ending_at"), "ending_at")
        everybody = query.one_of("workspaces", ("own", "all"), "own") == "all"
        query.refuse_others()
        if everybody and request.caller.role != "admin":
            raise PermissionDenied("workspaces: only an admin key sees all of them.")
        to_us = -(-(end or clock.now_us()) // width_us) * width_us
        from_us = (start or to_us - 24 * 3_600_000_000) // width_us * width_us
        if not 0 < (to_us - from_us) // width_us <= MOST_BUCKETS:
            raise InvalidRequest(f"starting_at: ask for 1 to {MOST_BUCKETS} buckets of {width_us // 1_000_000} s.")
        found = await past.read(None if everybody else request.workspace_id, from_us, to_us, width_us)
        return answer(shown(found, from_us, to_us, width_us))

    return [route("GET", "/freehold/v1/traffic", traffic)]


def shown(found: Sequence[Group], from_us: int, to_us: int, width_us: int) -> dict[str, Any]:
    """Every bucket, those without calls too; then the whole span, by model and by error."""
    by_bucket: dict[int, list[Group]] = {at: [] for at in range(from_us, to_us, width_us)}
    by_model: dict[str | None, list[Group]] = {}
    by_error: dict[str, int] = {}
    for group in found:
        by_bucket[group.bucket_us].append(group)
        by_model.setdefault(group.model, []).append(group)
        if group.status >= 400 or group.error_type:
            name = group.error_type or f"status {group.status}"
            by_error[name] = by_error.get(name, 0) + group.calls
    models = [{"model": model, **_figures(some)} for model, some in by_model.items()]
    return {
        "type": "traffic",
        "total": _figures(found),
        "data": [{"starting_at": rfc3339(at), **_figures(some)} for at, some in by_bucket.items()],
        "models": sorted(models, key=lambda one: -one["calls"]),
        "errors": [{"error_type": name, "calls": count} for name, count in sorted(by_error.items(), key=_most_first)],
    }


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _figures(some: Sequence[Group]) -> dict[str, Any]:
    sums = {name: sum(getattr(group, name) for group in some) for name in _SUMS}
    failed = sum(group.calls for group in some if group.status >= 400 or group.error_type)
    answered = [group for group in some if group.status < 400]
    return {**sums, "failed_calls": failed, **{f"latency_ms_p{p}": percentile(answered, p) for p in (50, 95, 99)}}


def percentile(some: Iterable[Group], percent: int) -> int | None:
    """The upper end, in ms, of the class in which that share of the calls is reached; `None` without calls, and above
    the last class its lower end.
    """
    counts = [0] * (len(LATENCY_CLASSES_MS) + 1)
    for group in some:
        counts[group.latency_class] += group.calls
    wanted, reached = -(-sum(counts) * percent // 100), 0
    for place, count in enumerate(counts):
        reached += count
        if count and reached >= wanted:
            return LATENCY_CLASSES_MS[min(place, len(LATENCY_CLASSES_MS) - 1)]
    return None


class _Past:
    """Buckets long past are read once in ten minutes, so that a page over millions of calls comes at once."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._kept: OrderedDict[tuple[str | None, int, int], tuple[int, list[Group]]] = OrderedDict()

    async def read(self, workspace_id: str | None, from_us: int, to_us: int, width_us: int) -> list[Group]:
        now_us = self._clock.now_us()
        found: list[Group] = []
        at = from_us
        while at < to_us and (kept := self._known(workspace_id, at, width_us, now_us)) is not None:
            found += kept
            at += width_us
        if at < to_us:
            found += await self._fresh(workspace_id, at, to_us, width_us, now_us)
        return found

    def _known(self, workspace_id: str | None, at: int, width_us: int, now_us: int) -> list[Group] | None:
        kept = self._kept.get((workspace_id, at, width_us))
        return kept[1] if kept is not None and now_us < kept[0] else None

    async def _fresh(
        self, workspace_id: str | None, from_us: int, to_us: int, width_us: int, now_us: int
    ) -> list[Group]:
        await self._store.flush()  # rows of calls go in behind the answers
        async with self._store.read() as conn:
            rows = await groups(conn, workspace_id, from_us, to_us, width_us)
        by_bucket: dict[int, list[Group]] = {at: [] for at in range(from_us, to_us, width_us)}
        for row in rows:
            by_bucket[row.bucket_us].append(row)
        for at, some in by_bucket.items():
            if at + width_us < now_us - _SETTLED_US:
                self._kept[workspace_id, at, width_us] = now_us + _KEPT_US, some
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return rows


def _time(text: str | None, name: str) -> int | None:
    try:
        return None if text is None else parse_rfc3339(text.replace(" ", "+"))
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{name}: must be an RFC 3339 time with an offset, not {text!r:.60}.") from error
