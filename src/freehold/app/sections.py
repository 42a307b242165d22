"""Every settings class of the parts that are made here."""

from __future__ import annotations

from typing import Any

from freehold.access.audit import AuditSettings
from freehold.access.first_start import AdminKeySettings
from freehold.access.secrets import SecretSettings
from freehold.agents.compacting import ContextSettings
from freehold.agents.judging import JudgeSettings
from freehold.agents.tools.remote.servers import RemoteSettings
from freehold.agents.tools.web import WebSettings
from freehold.api import metrics, oauth
from freehold.app.settings import DataSettings, SafetySettings, UpstreamSettings
from freehold.batches.settings import BatchSettings
from freehold.console.settings import ConsoleSettings
from freehold.environments.bounds import BoundSettings
from freehold.environments.containers.containers import ContainerSettings
from freehold.environments.copies import CopySettings
from freehold.environments.fleet import BoxSettings
from freehold.environments.history import SnapshotSettings
from freehold.environments.images.images import ImageSettings
from freehold.environments.networking import EgressSettings
from freehold.environments.packages import LayerSettings
from freehold.environments.repositories import RepositorySettings
from freehold.gateway.backoff import RetrySettings
from freehold.gateway.caching.cacher import CachingSettings
from freehold.gateway.middleware.context_edits import ContextEditSettings
from freehold.gateway.middleware.departures import DepartureSettings
from freehold.gateway.middleware.limits import LimitSettings
from freehold.gateway.recording import RecordSettings
from freehold.gateway.routes import FallbackSettings
from freehold.gateway.routing.settings import RoutingSettings
from freehold.jobs.alerts import AlertSettings
from freehold.jobs.driver import DriverSettings
from freehold.jobs.webhooks import WebhookSettings
from freehold.jobs.work_queue import WorkSettings
from freehold.knowledge.settings import KnowledgeSettings
from freehold.ledger.ledger import LedgerSettings
from freehold.library.files import FilesSettings
from freehold.telemetry.settings import TelemetrySettings
from freehold.toolboxes.settings import ToolboxSettings
from freehold.upstreams.network import NetworkSettings
from freehold.upstreams.settings import UpstreamsSettings
from freehold.worker.settings import WorkerSettings


def sections() -> list[type[Any]]:
    """Every settings class of the parts that are made here, in the order of the reference page."""
    return [
        DataSettings,
        UpstreamSettings,
        UpstreamsSettings,
        NetworkSettings,
        RetrySettings,
        FallbackSettings,
        LimitSettings,
        DepartureSettings,
        RecordSettings,
        RoutingSettings,
        CachingSettings,
        ContextEditSettings,
        metrics.MetricsSettings,
        ToolboxSettings,
        BoxSettings,
        CopySettings,
        SnapshotSettings,
        BoundSettings,
        EgressSettings,
        ContainerSettings,
        ImageSettings,
        LayerSettings,
        RepositorySettings,
        DriverSettings,
        WorkSettings,
        ContextSettings,
        JudgeSettings,
        WebSettings,
        RemoteSettings,
        oauth.OAuthSettings,
        BatchSettings,
        WebhookSettings,
        AlertSettings,
        FilesSettings,
        KnowledgeSettings,
        LedgerSettings,
        AdminKeySettings,
        AuditSettings,
        SecretSettings,
        SafetySettings,
        ConsoleSettings,
        TelemetrySettings,
        WorkerSettings,
    ]
