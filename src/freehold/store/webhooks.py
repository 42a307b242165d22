"""Webhooks and their deliveries: what is to be told to whom, queued in the transaction in which it happened.

It does not know HTTP, or how a delivery is signed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Row, String, bindparam, delete, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.clock import rfc3339
from freehold.errors import InvalidRequest, NotFound
from freehold.ids import NewId, new_id
from freehold.store.engine import Store
from freehold.store.forgetting import forget
from freehold.store.keyset import page as page_of
from freehold.store.leases import database_now
from freehold.store.tables import webhook_deliveries, webhooks

WAKE = "webhooks"
"""The key that is signalled when a delivery waits."""
MOST_WEBHOOKS = 20
"""In one workspace; each event of it is written once for each."""
ORGANIZATION_ID = "org_freehold"


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """One address that wants to be told. `events` is a JSON list of types; empty: all."""

    id: str
    workspace_id: str
    url: str
    events: str
    sealed: bytes
    created_us: int


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One event for one address, and what became of it."""

    id: str
    webhook_id: str
    type: str
    body: str
    created_us: int
    next_us: int
    state: str = "waiting"
    attempts: int = 0
    lease_until_us: int = 0
    last_status: int | None = None
    last_error: str | None = None
    ended_us: int | None = None


ONLY_BY_NAME = frozenset({"session.running", "session.idled"})
"""Older names of `session.status_run_started` and `session.status_idled`: sent to those alone that ask for them."""
_NO_MORE: Mapping[str, str] = {}
_WHO = select(webhooks.c.id, webhooks.c.events).where(webhooks.c.workspace_id == bindparam("workspace", type_=String()))
_DELIVERY = [webhook_deliveries.c[field.name] for field in fields(DeliveryRow)]


async def announce(
    connection: AsyncConnection,
    workspace_id: str,
    kind: str,
    subject_id: str,
    *,
    now_us: int,
    ids: NewId = new_id,
    more: Mapping[str, str] = _NO_MORE,
) -> None:
    """Queue `kind` for every webhook of the workspace that wants it, within the transaction in which it happened. One
    cheap look where there is none. `more` are further ids that tell whom it is about."""
    found = await connection.execute(_WHO, {"workspace": workspace_id})
    for webhook_id, events in found.all():
        wanted = json.loads(events)
        if kind in wanted or (not wanted and kind not in ONLY_BY_NAME):
            row = delivery(webhook_id, workspace_id, kind, subject_id, now_us=now_us, ids=ids, more=more)
            await connection.execute(insert(webhook_deliveries).values(**asdict(row)))


def delivery(
    webhook_id: str,
    workspace_id: str,
    kind: str,
    subject_id: str,
    *,
    now_us: int,
    ids: NewId,
    more: Mapping[str, str] = _NO_MORE,
) -> DeliveryRow:
    """A delivery that waits. The body is thin, as the API's own: only ids."""
    event_id = ids("whe")
    data = {"type": kind, "id": subject_id, "organization_id": ORGANIZATION_ID, "workspace_id": workspace_id, **more}
    body = {"type": "event", "id": event_id, "created_at": rfc3339(now_us), "data": data}
    return DeliveryRow(event_id, webhook_id, kind, json.dumps(body, separators=(",", ":")), now_us, now_us)


class WebhookRows:
    """Webhooks of all workspaces; every call of a client names the one that it may see."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, row: WebhookRow) -> None:
        """Insert. Raises `InvalidRequest` when the workspace has too many."""

        async def op(connection: AsyncConnection) -> None:
            mine = select(webhooks.c.id).where(webhooks.c.workspace_id == row.workspace_id)
            if len((await connection.execute(mine)).all()) >= MOST_WEBHOOKS:
                raise InvalidRequest(f"This workspace has {MOST_WEBHOOKS} webhooks already; delete one first.")
            await connection.execute(insert(webhooks).values(**asdict(row)))

        await self._store.write(op)

    async def all(self, workspace_id: str) -> list[WebhookRow]:
        """All of the workspace, newest first."""
        query = select(webhooks).where(webhooks.c.workspace_id == workspace_id)
        async with self._store.read() as connection:
            found = await connection.execute(query.order_by(webhooks.c.created_us.desc(), webhooks.c.id.desc()))
            return [WebhookRow(**row._mapping) for row in found]

    async def get(self, workspace_id: str, webhook_id: str) -> WebhookRow:
        """Raises `NotFound`."""
        async with self._store.read() as connection:
            return await _find(connection, workspace_id, webhook_id)

    async def delete(self, workspace_id: str, webhook_id: str) -> None:
        """Delete it and what was or is to be told to it: the past first, a slice at a time. Raises `NotFound`."""
        await self.get(workspace_id, webhook_id)
        row = webhook_deliveries.c
        await forget(self._store, row.id, row.webhook_id == webhook_id, row.ended_us.is_not(None))

        async def op(connection: AsyncConnection) -> None:
            await _find(connection, workspace_id, webhook_id)
            await connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))

        await self._store.write(op)

    async def queue(self, row: DeliveryRow) -> None:
        """Insert a delivery."""

        async def op(connection: AsyncConnection) -> None:
            await connection.execute(insert(webhook_deliveries).values(**asdict(row)))

        await self._store.write(op, wake=[WAKE])

    async def deliveries(
        self, workspace_id: str, webhook_id: str, *, after: Sequence[Any] | None, limit: int
    ) -> list[DeliveryRow]:
        """What was or is to be told to it, newest first. Raises `NotFound`."""
        query = select(*_DELIVERY).where(webhook_deliveries.c.webhook_id == webhook_id)
        keys = (webhook_deliveries.c.created_us, webhook_deliveries.c.id)
        async with self._store.read() as connection:
            await _find(connection, workspace_id, webhook_id)
            return [_delivery(row) for row in await connection.execute(page_of(query, keys, after=after, limit=limit))]

    async def any_due(self, connection: AsyncConnection, now_us: int) -> bool:
        """Whether something is to be sent: a look that costs no write."""
        row = webhook_deliveries.c
        free = row.lease_until_us <= _now(connection, now_us)
        due = select(row.id).where(row.state == "waiting", row.next_us <= now_us, free).limit(1)
        return (await connection.execute(due)).first() is not None

    async def take(
        self, *, limit: int, each: int, busy: Mapping[str, int], now_us: int, lease_s: float
    ) -> list[tuple[DeliveryRow, WebhookRow]]:
        """Deliveries that are due and that nobody else tries now, each with its address; ours for `lease_s`. Of one
        workspace they are `each` at most, with those that are `busy` by workspace already."""
        full = [workspace_id for workspace_id, count in busy.items() if count >= each]

        async def op(connection: AsyncConnection) -> list[tuple[DeliveryRow, WebhookRow]]:
            now = _now(connection, now_us)
            row = webhook_deliveries.c
            due = (
                select(row.id, webhooks.c.workspace_id)
                .join_from(webhook_deliveries, webhooks)
                .where(row.state == "waiting", row.next_us <= now_us, row.lease_until_us <= now)
                .where(webhooks.c.workspace_id.not_in(full))
                .order_by(row.next_us, row.id)
                .limit(limit)
                .with_for_update(skip_locked=True, of=webhook_deliveries)
            )
            counts, found = Counter(busy), []
            for delivery_id, workspace_id in await connection.execute(due):
                counts[workspace_id] += 1
                if counts[workspace_id] <= each:
                    found.append(delivery_id)
            if not found:
                return []
            leased = update(webhook_deliveries).where(row.id.in_(found))
            await connection.execute(leased.values(lease_until_us=now + round(lease_s * 1_000_000)))
            both = select(*_DELIVERY, *(column.label(f"to_{column.name}") for column in webhooks.c)).join_from(
                webhook_deliveries, webhooks
            )
            return [_both(one) for one in await connection.execute(both.where(row.id.in_(found)))]

        return await self._store.write(op)

    async def told(self, row: DeliveryRow, *, wake: bool = False) -> None:
        """Write down how an attempt went, and that nobody tries it now."""
        values = asdict(row) | {"lease_until_us": 0}

        async def op(connection: AsyncConnection) -> None:
            await connection.execute(
                update(webhook_deliveries).where(webhook_deliveries.c.id == row.id).values(**values)
            )

        await self._store.write(op, wake=[WAKE] if wake else [])

    async def forget(self, before_us: int) -> None:
        """Delete deliveries that ended before then, a slice at a time."""
        await forget(self._store, webhook_deliveries.c.id, webhook_deliveries.c.ended_us < before_us)


async def _find(connection: AsyncConnection, workspace_id: str, webhook_id: str) -> WebhookRow:
    query = select(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.workspace_id == workspace_id)
    found = (await connection.execute(query)).first()
    if found is None:
        raise NotFound(f"There is no webhook {webhook_id[:80]!r}.")
    return WebhookRow(**found._mapping)


def _delivery(row: Row[Any]) -> DeliveryRow:
    return DeliveryRow(**row._mapping)


def _both(row: Row[Any]) -> tuple[DeliveryRow, WebhookRow]:
    values = dict(row._mapping)
    to = {name: values.pop(f"to_{name}") for name in (field.name for field in fields(WebhookRow))}
    return DeliveryRow(**values), WebhookRow(**to)


def _now(connection: AsyncConnection, now_us: int) -> ColumnElement[int]:
    return database_now(connection.dialect.name, literal(now_us, BigInteger()))
