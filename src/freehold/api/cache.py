"""`GET /freehold/v1/cache/report`: how much of the prompts came from Claude's cache, and what misses have cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.clock import rfc3339
from freehold.store.cache_misses import CacheMisses
from freehold.store.engine import Store
from freehold.store.usage_reports import Span, report

_MOST_ROWS = 2_000
_CULPRITS = 50
_WIDTHS = {"day": 86_400_000_000, "hour": 3_600_000_000}
_SUMS = ("calls", "input_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "cache_read_tokens")


def routes(store: Store, misses: CacheMisses) -> list[BaseRoute]:
    """The report. A member sees its workspace, an admin all of them or the one it names."""

    async def cache_report(request: Request) -> Response:
        query = request.query
        width = query.one_of("by", ("day", "hour"), "day")
        within = query.times("started_at", ("gte", "lt"))
        workspaces = request.workspaces(query.text("workspace_id"))
        query.refuse_others()
        await store.flush()
        span = Span(within.gte, within.lt, _WIDTHS[width])
        by = ("key", "task_type", "source", "model")
        async with store.read() as conn:
            rows = await report(conn, span, by, only={"workspace": workspaces}, limit=_MOST_ROWS)
        found = await misses.by_culprit(workspaces, within.gte, within.lt, _CULPRITS)
        return answer(
            {
                "type": "cache_report",
                "routes": [_route(row) for row in rows[:_MOST_ROWS]],
                "misses": [_miss(row) for row in found],
            }
        )

    return [route("GET", "/freehold/v1/cache/report", cache_report)]


def _route(row: Mapping[str, Any]) -> dict[str, Any]:
    """`hit_rate`: the part of all prompt tokens that was read from the cache; `None` where there were none."""
    prompt = sum(row[name] for name in _SUMS[1:])
    return {
        "starting_at": rfc3339(row["bucket_us"]),
        **{name: row[name] for name in ("key", "task_type", "source", "model")},
        **{name: row[name] for name in _SUMS},
        "hit_rate": round(row["cache_read_tokens"] / prompt, 4) if prompt else None,
        "cost_nanodollars": row["cost_nanodollars"],
    }


def _miss(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("workspace_id", "key_id", "model", "culprit", "path")},
        **{name: row[name] for name in ("misses", "lost_tokens", "cost_nanodollars")},
        "last_at": rfc3339(row["last_us"]),
        "call_id": row["call_id"],
        "warmed_by": row["warmed_by"],
        "before": row["before"],
        "after": row["after"],
    }
