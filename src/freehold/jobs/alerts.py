"""Looks once a minute whether calls fail, are slow, or miss the prompt cache more than is usual, and raises alerts.

What it finds goes to webhooks as everything does (`jobs/webhooks.py`), once when it begins and once when it is over.
Budgets are not looked at here: the ledger itself says when one is reached.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from freehold.clock import Clock
from freehold.config import setting
from freehold.errors import Unavailable
from freehold.ids import NewId
from freehold.store import alerts as rows
from freehold.store.alerts import CACHE, ERRORS, LATENCY, AlertRow, Watched
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.usage_reports import Span, report

log = logging.getLogger(__name__)

LOOK_S = 60.0
_DAY_US = 86_400_000_000
_KEPT_US = 90 * _DAY_US
_SLOW_SHARE = 0.05
"""More of them slow: the 95th percentile is."""
_LEAST_HITS = 0.1
"""A cache that was hit less was not used; nothing can be lost."""
_LEAST_PROMPT_TOKENS = 20_000


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """When an alert is raised."""

    alert_window_minutes: int = setting(10, "Alerts look at the calls of the last so many minutes.", least=1)
    alert_least_calls: int = setting(20, "Fewer calls in that time raise no alert.", least=1)
    alert_errors_percent: float = setting(
        20.0, "Alert when more of a workspace's calls fail by the upstream's fault or ours; 0: never.", least=0
    )
    alert_latency_s: float = setting(
        0.0, "Alert when one answered call in twenty takes longer (the 95th percentile); 0: never.", least=0
    )
    alert_cache_drop_percent: float = setting(
        50.0, "Alert when the hit rate of the prompt cache falls by so much of what it was the day before; 0: never.",
        least=0,
    )  # fmt: skip


Found = Mapping[str, Mapping[str, float | int]]


def judged(now: Watched, usual_hits: float | None, settings: AlertSettings) -> Found:
    """What is wrong with these calls: figures by the kind of alert. `usual_hits`: share of prompt tokens that came from
    the cache the day before, `None` where that says nothing."""
    found: dict[str, Mapping[str, float | int]] = {}
    errors = 100 * now.failed / now.calls if now.calls else 0.0
    if settings.alert_errors_percent and errors > settings.alert_errors_percent:
        found[ERRORS] = {"calls": now.calls, "failed_calls": now.failed, "percent": round(errors, 1)}
    if settings.alert_latency_s and now.answered and now.slow > _SLOW_SHARE * now.answered:
        found[LATENCY] = {"calls": now.answered, "slow_calls": now.slow, "slower_than_s": settings.alert_latency_s}
    if settings.alert_cache_drop_percent and usual_hits is not None and now.prompt_tokens >= _LEAST_PROMPT_TOKENS:
        hits = now.read_tokens / now.prompt_tokens
        if usual_hits >= _LEAST_HITS and hits < usual_hits * (1 - settings.alert_cache_drop_percent / 100):
            found[CACHE] = {"hit_percent": round(100 * hits, 1), "usual_hit_percent": round(100 * usual_hits, 1)}
    return found


class Alerts:
    """The watcher of one process; any number may run, and together they tell each thing once."""

    def __init__(self, store: Store, settings: AlertSettings, *, clock: Clock, ids: NewId) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._ids = ids

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self.look()
            except Unavailable as error:
                log.warning("alerts cannot be looked for now: %s", error.message)
            except Exception:  # the outer edge of a job
                log.exception("looking for alerts failed; it goes on")
            await self._clock.sleep(LOOK_S)

    async def look(self) -> None:
        """Raise what is new, resolve what is over."""
        await self._store.flush()
        now_us = self._clock.now_us()
        from_us = now_us - self._settings.alert_window_minutes * 60_000_000
        slow_us = round(self._settings.alert_latency_s * 1_000_000)
        async with self._store.read() as conn:
            seen = {one.workspace_id: one for one in await rows.watched(conn, from_us, now_us + 1, slow_us)}
            opened = await rows.open_ones(conn)
            usual = await _usual_hits(conn, from_us) if seen else {}
        for one in seen.values():
            if one.calls >= self._settings.alert_least_calls:
                await self._raise(one.workspace_id, judged(one, usual.get(one.workspace_id), self._settings), opened)
        for row in opened:
            if self._is_over(row, seen.get(row.workspace_id), usual):
                await self._store.write(lambda conn, row=row: rows.resolve(conn, row, now_us=now_us, ids=self._ids))  # type: ignore[misc]

    async def tidy(self) -> None:
        """Forget alerts that were over long ago, in small steps."""
        await rows.forget_before(self._store, self._clock.now_us() - _KEPT_US)

    async def _raise(self, workspace_id: str, found: Found, opened: list[AlertRow]) -> None:
        known = {(row.workspace_id, row.kind) for row in opened}
        now_us = self._clock.now_us()
        for kind, figures in found.items():
            if (workspace_id, kind) not in known:
                log.warning("Alert %s in %s: %s", kind, workspace_id, dict(figures))

                async def op(conn: Connection, kind: str = kind, told: Mapping[str, object] = figures) -> None:
                    await rows.raise_(conn, workspace_id, kind, told, now_us=now_us, ids=self._ids)

                await self._store.write(op)

    def _is_over(self, row: AlertRow, now: Watched | None, usual: Mapping[str, float]) -> bool:
        """Too few calls say nothing; none at all, that it is over."""
        if now is None:
            return True
        if now.calls < self._settings.alert_least_calls:
            return False
        return row.kind not in judged(now, usual.get(row.workspace_id), self._settings)


async def _usual_hits(conn: Connection, before_us: int) -> dict[str, float]:
    """Share of prompt tokens that came from the cache in the day before, by workspace."""
    found = await report(conn, Span(before_us - _DAY_US, before_us), ["workspace"])
    sums = {row["workspace"]: (row["cache_read_tokens"], _prompt(row)) for row in found}
    return {name: read / prompt for name, (read, prompt) in sums.items() if prompt >= _LEAST_PROMPT_TOKENS}


def _prompt(row: Mapping[str, int]) -> int:
    names = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
    return sum(row[name] for name in names)
