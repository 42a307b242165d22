"""Keys, budgets, and the log of changes."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from freehold.console.overview import accounts
from freehold.console.visit import Visit
from freehold.money import nanodollars
from freehold.within import Refused


async def listed(visit: Visit) -> Response:
    """All keys for an admin, and every budget that the visitor's key may see."""
    return await _page(visit)


async def create(visit: Visit) -> Response:
    """A new key; it is shown this once."""
    form = await visit.form()
    body = {name: str(form.get(name, "")) for name in ("name", "role", "workspace_id") if form.get(name)}
    made = await visit.api.post("/freehold/v1/keys", body)
    return await _page(visit, made=made)


async def revoke(visit: Visit) -> Response:
    """End a key."""
    await visit.api.post(f"/freehold/v1/keys/{visit.id('key_id')}/revoke", {})
    return visit.go("/console/keys", "The key is revoked.")


async def set_budget(visit: Visit) -> Response:
    """Set a limit, or change the one there is for the same thing."""
    form = await visit.form()
    amount = str(form.get("limit", "")).strip()
    try:
        tokens = form.get("unit") == "tokens"
        limit = int(amount.replace(",", "")) if tokens else nanodollars(amount)
    except ValueError as error:
        raise Refused(400, f"The limit is no amount: {error}") from error
    body: dict[str, Any] = {
        "scope": str(form.get("scope", "")),
        "unit": "tokens" if tokens else "nanodollars",
        "limit": limit,
        "period": str(form.get("period", "month")),
        "enforcement": "soft" if form.get("soft") else "hard",
    }
    if form.get("scope_id"):
        body["scope_id"] = str(form["scope_id"])
    await visit.api.post("/freehold/v1/budgets", body)
    return visit.go("/console/keys", "The budget is set.")


async def audit(visit: Visit) -> Response:
    """Who changed what."""
    page = await visit.api.get("/freehold/v1/audit", {"limit": 100, "page": visit.asked("page")})
    return visit.show("audit.html", entries=page["data"], next_page=page.get("next_page"))


async def _page(visit: Visit, made: dict[str, Any] | None = None) -> Response:
    keys: dict[str, Any] = {"data": [visit.me]}
    if visit.admin:
        keys = await visit.api.get("/freehold/v1/keys", {"limit": 100, "page": visit.asked("page")})
    budgets = (await visit.api.get("/freehold/v1/budgets", {"limit": 100}))["data"]
    workspaces = (await visit.api.get("/freehold/v1/workspaces", {"limit": 100}))["data"] if visit.admin else []
    return visit.show(
        "keys.html",
        keys=keys["data"],
        next_page=keys.get("next_page"),
        budgets=[line for budget in budgets for line in accounts(budget)],
        workspaces=workspaces,
        made=made,
    )
