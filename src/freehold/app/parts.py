"""Everything that was made, by name: what the application starts and stops, and what the routes are made over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freehold.access.audit import AuditLog
from freehold.access.keys import Keys
from freehold.api.mcp_door import McpDoor
from freehold.api.oauth import Connections
from freehold.app.batches import BatchHouse
from freehold.app.calls import Lasting
from freehold.app.choosing import Choosing
from freehold.app.ground import Ground
from freehold.app.knowledge import KnowledgeHouse
from freehold.app.library import Library
from freehold.app.sessions import SessionHouse
from freehold.app.webhooks import WebhookHouse
from freehold.batches.payers import Payers
from freehold.calls import Handler
from freehold.jobs.alerts import Alerts
from freehold.jobs.work_queue import WorkQueue
from freehold.ledger.ledger import Ledger
from freehold.store.call_summing import CallSumming
from freehold.telemetry.calls import CallMetrics
from freehold.toolboxes.base import Toolbox
from freehold.upstreams.base import Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of one application."""

    ground: Ground
    keys: Keys
    audit: AuditLog
    summing: CallSumming
    ledger: Ledger
    choosing: Choosing
    upstreams: Sequence[Upstream]
    """The first one answers; the others are those that calls fall back on."""
    answered_by: str
    """The upstreams as the ready line calls them."""
    handler: Handler
    toolboxes: Mapping[str, Toolbox]
    mcp: McpDoor
    connections: Connections
    library: Library
    knowledge: KnowledgeHouse
    sessions: SessionHouse
    batches: BatchHouse
    payers: Payers
    webhooks: WebhookHouse
    alerts: Alerts
    work: WorkQueue
    measured: CallMetrics
    lasting: Lasting
