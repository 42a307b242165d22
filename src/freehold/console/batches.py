"""Batches: how far each is, and what came of it."""

from __future__ import annotations

from starlette.responses import Response

from freehold.console.downloads import HandedOn
from freehold.console.visit import Visit


async def listed(visit: Visit) -> Response:
    """Newest first."""
    page = await visit.api.get("/v1/messages/batches", {"limit": 50, "after_id": visit.asked("after")})
    after = page.get("last_id") if page.get("has_more") else None
    return visit.show("batches.html", batches=page["data"], after=after)


async def show(visit: Visit) -> Response:
    """One, live while it goes."""
    batch_id = visit.id("batch_id")
    batch = await visit.api.get(f"/v1/messages/batches/{batch_id}")
    progress = await visit.api.get(f"/freehold/v1/batches/{batch_id}/progress")
    forecast = await visit.api.get(f"/freehold/v1/batches/{batch_id}/forecast")
    return visit.show("batch.html", batch=batch, progress=progress, forecast=forecast)


async def cancel(visit: Visit) -> Response:
    """Stop it; what is done stays."""
    batch_id = visit.id("batch_id")
    await visit.api.post(f"/v1/messages/batches/{batch_id}/cancel", {})
    return visit.go(f"/console/batches/{batch_id}", "The batch is being cancelled.")


async def results(visit: Visit) -> Response:
    """Its results as a file, handed on while they come."""
    return HandedOn(visit, f"/v1/messages/batches/{visit.id('batch_id')}/results", "results.jsonl")
