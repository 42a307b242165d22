"""Makes the HTTP surface over the parts: every route, and the hot one past the router."""

from __future__ import annotations

from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from freehold.access.mcp_credentials import McpCredentials
from freehold.access.workers import Workers
from freehold.access.workspaces import Workspaces
from freehold.agents.tools.remote.servers import RemoteSettings
from freehold.agents.tools.web import WebSettings
from freehold.api import (
    agents,
    alerts,
    audit,
    base,
    batch_forecasts,
    batches,
    bills,
    boxes,
    budgets,
    cache,
    calls,
    deferred,
    denials,
    doctor,
    environments,
    events,
    exports,
    files,
    health,
    keys,
    knowledge,
    layers,
    mcp_credentials,
    memory_stores,
    metrics,
    models,
    oauth,
    resources,
    routing,
    session_files,
    sessions,
    skills,
    threads,
    traffic,
    usage_reports,
    webhooks,
    work,
    workspaces,
)
from freehold.api.definitions import Definitions
from freehold.api.mcp_door import PATH as MCP
from freehold.api.messages import ROUTES, MessagesRoute
from freehold.api.toolsets import Toolsets
from freehold.app.console import make_console
from freehold.app.examining import examined
from freehold.app.parts import Parts
from freehold.batches.deferring import Deferring
from freehold.environments.bounds import BoundSettings
from freehold.environments.packages import LayerSettings
from freehold.gateway.catalogue import Catalogue
from freehold.gateway.recorder import unpacked
from freehold.ledger.manage import Budgets
from freehold.store.agents import AgentRows
from freehold.store.cache_misses import CacheMisses
from freehold.store.environments import EnvironmentRows
from freehold.store.recordings import RecordingRows
from freehold.store.route_decisions import RouteDecisions
from freehold.telemetry.record import RecordMetrics
from freehold.telemetry.shown import text_of


def make_asgi(parts: Parts) -> ASGIApp:
    """The ASGI application over the parts."""
    defers = Deferring(
        parts.batches.deferred,
        parts.ground.store,
        parts.keys,
        parts.payers,
        clock=parts.ground.clock,
        ids=parts.ground.ids,
    )
    hot = MessagesRoute(defers(parts.handler), clock=parts.ground.clock, ids=parts.ground.ids)
    bare: dict[str, ASGIApp] = dict.fromkeys(ROUTES, hot)
    console = make_console(parts.ground, parts.webhooks.secrets, lambda: application)
    application: ASGIApp = base.application(
        _routes(parts),
        keys=parts.keys,
        clock=parts.ground.clock,
        ids=parts.ground.ids,
        bare=bare,
        under={**console, MCP: parts.mcp},
        audit=parts.audit,
        workers=Workers(parts.ground.store, parts.keys, parts.work.holds),
    )
    return application


def _routes(parts: Parts) -> list[BaseRoute]:
    ground, of_sessions, of_knowledge = parts.ground, parts.sessions, parts.knowledge
    store, clock, ids = ground.store, ground.clock, ground.ids
    web = ground.configuration.section(WebSettings).enabled()
    private_hosts = ground.configuration.section(RemoteSettings).mcp_private_hosts
    definitions = Definitions(Toolsets(parts.toolboxes, web, private_hosts))

    tenants = Workspaces(store, clock=clock, ids=ids)

    possible = environments.Possible(
        ground.configuration.section(BoundSettings), of_sessions.boxes.check_image, of_sessions.boxes.has
    )

    async def ready() -> str | None:
        return None if store.healthy else "The database cannot be written; see the server's log."

    return [
        *agents.routes(AgentRows(store), definitions, parts.library.skills, clock=clock, ids=ids),
        *environments.routes(EnvironmentRows(store), clock=clock, ids=ids, possible=possible),
        *work.routes(store, parts.work),
        *layers.routes(
            EnvironmentRows(store),
            of_sessions.boxes.installer,
            ground.configuration.section(LayerSettings).layer_kept_days,
        ),
        *sessions.routes(of_sessions.own, definitions, clock=clock),
        *events.routes(store, of_sessions.inbox, of_sessions.feed),
        *threads.routes(of_sessions.own, store, of_sessions.feed, clock=clock),
        *resources.routes(of_sessions.own),
        *boxes.routes(
            of_sessions.own.rows, of_sessions.boxes.workdirs, of_sessions.boxes.fleet, of_sessions.boxes.installing
        ),
        *denials.routes(of_sessions.own.rows, of_sessions.boxes.denials),
        *session_files.routes(of_sessions.forks, parts.library.scratch),
        *files.routes(parts.library.files),
        *skills.routes(parts.library.skills),
        *memory_stores.routes(parts.library.memories),
        *knowledge.routes(of_knowledge.collections, of_knowledge.ingest, of_knowledge.fetching, of_knowledge.search),
        *workspaces.routes(tenants),
        *exports.routes(parts.library.export, parts.library.taking, tenants, parts.library.scratch),
        *keys.routes(parts.keys),
        *models.routes(Catalogue(parts.upstreams, clock)),
        *batch_forecasts.routes(parts.batches.own),
        *batches.routes(parts.batches.own),
        *deferred.routes(parts.batches.deferred),
        *webhooks.routes(parts.webhooks.rows, parts.webhooks.secrets, clock=clock, ids=ids),
        *alerts.routes(store, clock=clock),
        *oauth.routes(parts.connections, parts.keys, clock),
        *mcp_credentials.routes(McpCredentials(parts.webhooks.secrets)),
        *cache.routes(store, CacheMisses(store)),
        *routing.routes(RouteDecisions(store)),
        *bills.routes(store),
        *calls.routes(store, RecordingRows(store), parts.lasting.recorder.flush, unpacked),
        *budgets.routes(Budgets(store, parts.ledger, clock=clock, ids=ids)),
        *usage_reports.routes(store, clock=clock),
        *traffic.routes(store, clock=clock),
        *audit.routes(parts.audit, parts.keys),
        *doctor.routes(lambda: examined(parts)),
        *health.routes(ready),
        *metrics.routes(
            text_of(parts.measured, RecordMetrics(ground.store)), ground.configuration.section(metrics.MetricsSettings)
        ),
    ]
