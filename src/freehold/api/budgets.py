"""`/freehold/v1/budgets`: limits made and changed, and what is spent, reserved and left of them.

A member sees the budgets of its workspace; making, changing and ending them is for admins, who run the whole server.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.api.plain import fields_of
from freehold.clock import rfc3339
from freehold.errors import InvalidRequest
from freehold.ledger.manage import Budgets, Shown, Wanted
from freehold.store.ledger import AccountRow, LostCall

PATH = "/freehold/v1/budgets"
_KNOWN: dict[str, type] = {
    "scope": str,
    "scope_id": str,
    "workspace_id": str,
    "unit": str,
    "limit": int,
    "period": str,
    "timezone": str,
    "enforcement": str,
}


def routes(budgets: Budgets) -> list[BaseRoute]:
    """Every route of budgets."""

    async def put(request: Request) -> Response:
        fields = fields_of(await request.json(), _KNOWN, required=("scope", "limit"))
        row = await budgets.put(_wanted(fields, request.workspace_id))
        return answer(shown(await budgets.get(row.id, None)))

    async def page(request: Request) -> Response:
        admin = request.caller.role == "admin"
        asked = request.query.text("workspace_id") if admin else request.workspace_id
        window = request.query.window("budgets", {"workspace_id": asked})
        await budgets.give_back()
        rows = await budgets.list(workspace_id=asked, organization=admin, limit=window.limit, after=window.key)
        return answer(window.page(rows, shown, lambda one: (one.budget.created_us, one.budget.id)))

    async def retrieve(request: Request) -> Response:
        await budgets.give_back()
        return answer(shown(await budgets.get(request.path["budget_id"], _of(request))))

    async def archive(request: Request) -> Response:
        await request.json()
        row = await budgets.archive(request.path["budget_id"], None)
        return answer(shown(await budgets.get(row.id, None)))

    async def lost(request: Request) -> Response:
        calls = await budgets.lost(request.path["budget_id"], _of(request))
        return answer({"data": [_lost(call) for call in calls]})

    async def release(request: Request) -> Response:
        await request.json()
        budget_id, request_id = request.path["budget_id"], request.path["request_id"]
        freed = await budgets.release(budget_id, request_id, None)
        return answer({"type": "released_call", "request_id": request_id, "amount": freed})

    return [
        route("POST", PATH, put, door="admin"),
        route("GET", PATH, page),
        route("GET", PATH + "/{budget_id}", retrieve),
        route("POST", PATH + "/{budget_id}/archive", archive, door="admin"),
        route("GET", PATH + "/{budget_id}/lost_calls", lost),
        route("POST", PATH + "/{budget_id}/lost_calls/{request_id}/release", release, door="admin"),
    ]


def _of(request: Request) -> str | None:
    """The workspace whose budgets the caller may see; `None`: all."""
    return None if request.caller.role == "admin" else request.workspace_id


def _wanted(fields: dict[str, Any], own_workspace: str) -> Wanted:
    scope = fields["scope"]
    workspace_id = fields.get("workspace_id", None if scope == "organization" else own_workspace)
    if fields["limit"] < 0:
        raise InvalidRequest("limit: must not be negative.")
    return Wanted(
        scope=scope,
        unit=fields.get("unit", "nanodollars"),
        amount=fields["limit"],
        workspace_id=workspace_id,
        scope_id=fields.get("scope_id"),
        period=fields.get("period", "lifetime"),
        timezone=fields.get("timezone", "UTC"),
        enforcement=fields.get("enforcement", "hard"),
    )


def shown(one: Shown) -> dict[str, Any]:
    """A budget with the accounts of its running period.

    `{"id": "bdgt_…", "scope": "key", "limit": 450000000, "accounts": [{"settled": 1, "remaining": 2, …}], …}`
    """
    budget = one.budget
    return {
        "id": budget.id,
        "type": "budget",
        "workspace_id": budget.workspace_id,
        "scope": budget.scope,
        "scope_id": budget.scope_id,
        "unit": budget.unit,
        "limit": budget.amount,
        "period": budget.period,
        "timezone": budget.timezone,
        "enforcement": budget.enforcement,
        "resets_at": None if one.resets_us is None else rfc3339(one.resets_us),
        "accounts": [_account(account) for account in one.accounts],
        "created_at": rfc3339(budget.created_us),
        "updated_at": rfc3339(budget.updated_us),
        "archived_at": None if budget.archived_us is None else rfc3339(budget.archived_us),
    }


def _account(account: AccountRow) -> dict[str, Any]:
    return {
        "scope_id": account.scope_id,
        "limit": account.amount,
        "settled": account.settled,
        "reserved": account.escrowed,
        "possibly_billed": account.lost,
        "remaining": max(0, account.amount - account.settled - account.escrowed),
        "overrun": account.overrun,
    }


def _lost(call: LostCall) -> dict[str, Any]:
    return {
        "type": "lost_call",
        "request_id": call.request_id,
        "model": call.model,
        "amount": call.amount,
        "reason": call.reason,
        "state": call.state,
        "noted_at": rfc3339(call.noted_us),
    }
