"""`/freehold/v1/webhooks`: who is told of what happens in a workspace, by signed requests, and what became of each."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.clock import Clock, rfc3339
from freehold.errors import InvalidRequest
from freehold.ids import NewId
from freehold.jobs.webhooks import OpensSecrets, check_url, new_secret
from freehold.store.alerts import KINDS
from freehold.store.session_news import NAMES, WHY_IDLE
from freehold.store.webhooks import DeliveryRow, WebhookRow, WebhookRows, delivery
from freehold.wire.pages import cursor_page

EVENTS = (
    "batch.ended",
    "deferred.ended",
    *KINDS,
    *(f"session.{what}" for what in ("created", "archived", "deleted")),
    *(name for names in NAMES.values() for name in names),
    *WHY_IDLE.values(),
    *(f"agent.{what}" for what in ("created", "updated", "archived")),
    *(f"environment.{what}" for what in ("created", "updated", "archived", "deleted")),
)
"""What is told: events of the API, and some of our own."""
TEST = "webhook.test"
_PATH = "/freehold/v1/webhooks"
_ONE = f"{_PATH}/{{webhook_id}}"


def routes(rows: WebhookRows, secrets: OpensSecrets, *, clock: Clock, ids: NewId) -> list[BaseRoute]:
    """Every route of webhooks."""
    resource = _Webhooks(rows, secrets, clock, ids)
    return [
        route("POST", _PATH, resource.create),
        route("GET", _PATH, resource.every),
        route("DELETE", _ONE, resource.delete),
        route("POST", f"{_ONE}/test", resource.test),
        route("GET", f"{_ONE}/deliveries", resource.deliveries),
    ]


class _Webhooks:
    def __init__(self, rows: WebhookRows, secrets: OpensSecrets, clock: Clock, ids: NewId) -> None:
        self._rows = rows
        self._secrets = secrets
        self._clock = clock
        self._ids = ids

    async def create(self, request: Request) -> Response:
        body = await request.json()
        url, events = _asked(body)
        secret, webhook_id = new_secret(), self._ids("whk")
        sealed = self._secrets.seal(request.workspace_id, webhook_id, secret.encode())
        now_us = self._clock.now_us()
        row = WebhookRow(webhook_id, request.workspace_id, url, json.dumps(events), sealed, now_us)
        await self._rows.add(row)
        return answer({**shown(row), "secret": secret})

    async def every(self, request: Request) -> Response:
        request.query.refuse_others()
        return answer(cursor_page([shown(row) for row in await self._rows.all(request.workspace_id)], None))

    async def delete(self, request: Request) -> Response:
        webhook_id = request.path["webhook_id"]
        await self._rows.delete(request.workspace_id, webhook_id)
        return answer({"id": webhook_id, "type": "webhook_deleted"})

    async def test(self, request: Request) -> Response:
        row = await self._rows.get(request.workspace_id, request.path["webhook_id"])
        made = delivery(row.id, row.workspace_id, TEST, row.id, now_us=self._clock.now_us(), ids=self._ids)
        await self._rows.queue(made)
        return answer(shown_delivery(made))

    async def deliveries(self, request: Request) -> Response:
        webhook_id = request.path["webhook_id"]
        window = request.query.window("webhook_deliveries", {"webhook": webhook_id})
        rows = await self._rows.deliveries(request.workspace_id, webhook_id, after=window.after, limit=window.limit)
        return answer(window.page(rows, shown_delivery, lambda row: (row.created_us, row.id)))


def shown(row: WebhookRow) -> dict[str, Any]:
    """A webhook without its secret."""
    return {
        "id": row.id,
        "type": "webhook",
        "url": row.url,
        "events": json.loads(row.events),
        "created_at": rfc3339(row.created_us),
    }


def shown_delivery(row: DeliveryRow) -> dict[str, Any]:
    """One delivery and how it went."""
    return {
        "id": row.id,
        "type": "webhook_delivery",
        "event": row.type,
        "state": row.state,
        "attempts": row.attempts,
        "last_status": row.last_status,
        "last_error": row.last_error,
        "created_at": rfc3339(row.created_us),
        "ended_at": None if row.ended_us is None else rfc3339(row.ended_us),
    }


def _asked(body: dict[str, Any]) -> tuple[str, list[str]]:
    for name in body:
        if name not in ("url", "events"):
            raise InvalidRequest(f"{name[:80]}: there is no such field here. Known: url, events.")
    url, events = body.get("url"), body.get("events", [])
    if not isinstance(url, str):
        raise InvalidRequest("url: is required, as text.")
    check_url(url)
    if not isinstance(events, list):
        raise InvalidRequest("events: must be a list of types; leave it out for all.")
    for index, one in enumerate(events):
        if one not in EVENTS:
            raise InvalidRequest(f"events.{index}: must be one of {', '.join(EVENTS)}, not {str(one)[:80]!r}.")
    return url, list(dict.fromkeys(events))
