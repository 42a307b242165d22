"""Which events of a session's log webhooks are told of, and under which names: those of the API differ from the log's.

Source: Claude API docs, Managed Agents, Webhooks, and the SDK's types of their data, read 2026-11-23. They are queued
in the transaction that appends the events.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.webhooks import announce

NAMES = {
    "session.status_running": ("session.status_run_started", "session.running"),
    "session.status_idle": ("session.status_idled", "session.idled"),
    "session.status_rescheduled": ("session.status_rescheduled",),
    "session.status_terminated": ("session.status_terminated",),
    "session.updated": ("session.updated",),
    "session.thread_created": ("session.thread_created",),
    "session.thread_status_idle": ("session.thread_idled",),
    "session.thread_status_terminated": ("session.thread_terminated",),
}
WHY_IDLE = {"requires_action": "session.requires_action", "budget_reached": "session.budget_reached"}
"""Why it is idle may be news of its own."""


class Told(Protocol):
    """What of an event is needed here."""

    @property
    def type(self) -> str:
        """As in the log."""
        ...

    @property
    def body(self) -> str:
        """Its JSON."""
        ...


async def announce_events(
    connection: AsyncConnection, workspace_id: str, session_id: str, events: Sequence[Told], now_us: int
) -> None:
    """Tell the workspace's webhooks of those that are news."""
    for event in events:
        for kind in _kinds(event):
            more = _thread(event) if ".thread_" in kind else {}
            await announce(connection, workspace_id, kind, session_id, now_us=now_us, more=more)


def is_news(events: Sequence[Told]) -> bool:
    """Whether any of them is told."""
    return any(event.type in NAMES for event in events)


def _kinds(event: Told) -> tuple[str, ...]:
    kinds = NAMES.get(event.type, ())
    if event.type != "session.status_idle":
        return kinds
    reason = (json.loads(event.body).get("stop_reason") or {}).get("type")
    return (*kinds, WHY_IDLE[reason]) if reason in WHY_IDLE else kinds


def _thread(event: Told) -> dict[str, str]:
    body: dict[str, Any] = json.loads(event.body)
    thread_id = body.get("session_thread_id")
    return {} if thread_id is None else {"session_thread_id": str(thread_id)}
