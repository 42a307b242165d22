"""The first page: what runs, what it costs against what it may cost, how fast it is, what fails."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from freehold.console.spans import SPANS, span_of
from freehold.console.visit import Visit


async def show(visit: Visit) -> Response:
    """Of the last hour, day, week or month."""
    name = visit.asked("span", "day")
    span = span_of(name)
    api = visit.api
    traffic = await api.get("/freehold/v1/traffic", span.query(visit))
    budgets = await api.get("/freehold/v1/budgets", {"limit": 20})
    running = await api.get("/v1/sessions", {"limit": 8})
    batches = await api.get("/v1/messages/batches", {"limit": 5})
    alerts = await api.get("/freehold/v1/alerts", {"open": "true", "limit": 20})
    return visit.show(
        "overview.html",
        spans=list(SPANS),
        span=name if name in SPANS else "day",
        traffic=traffic,
        cached=_cached(traffic["total"]),
        budgets=[line for budget in budgets["data"] for line in accounts(budget)],
        sessions=running["data"],
        batches=batches["data"],
        alerts=alerts["data"],
    )


def accounts(budget: dict[str, Any]) -> list[dict[str, Any]]:
    """A line for each thing that the budget counts; the share that is spent is at most 100."""
    lines = budget["accounts"] or [{"settled": 0, "reserved": 0, "remaining": budget["limit"]}]
    return [
        {
            **budget,
            **account,
            "of": account.get("scope_id") or budget["scope_id"],
            "percent": min(100, 100 * (account["settled"] + account["reserved"]) // max(1, budget["limit"])),
        }
        for account in lines
    ]


def _cached(total: dict[str, int]) -> tuple[int, int]:
    """Prompt tokens that came from the cache, and all of them."""
    read = total["cache_read_tokens"]
    return read, read + total["input_tokens"] + total["cache_write_tokens"]
