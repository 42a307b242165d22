"""From settings to an application: the order in which the parts are made, and what is let go when one refuses."""

from __future__ import annotations

import contextlib
import dataclasses

from starlette.types import ASGIApp

from freehold.access.audit import AuditLog, AuditSettings
from freehold.access.first_start import AdminKeySettings, FirstStart, first_start
from freehold.access.keys import Keys
from freehold.access.oauth import OAuth
from freehold.access.secrets import Secrets, SecretSettings, secret_key
from freehold.api.mcp_door import McpDoor
from freehold.api.oauth import Connections, OAuthSettings
from freehold.app.application import Application
from freehold.app.batches import make_batches
from freehold.app.calls import Lasting, make_ledger, make_pipeline
from freehold.app.choosing import make_choosing
from freehold.app.ground import Ground, Replacements, data_folder, database
from freehold.app.knowledge import make_knowledge
from freehold.app.library import make_library
from freehold.app.parts import Parts
from freehold.app.reloading import Reloading
from freehold.app.routes import make_asgi
from freehold.app.sessions import make_sessions
from freehold.app.settings import DataSettings
from freehold.app.toolboxes import make_toolboxes, own_toolbox
from freehold.app.upstreams import make_upstreams
from freehold.app.webhooks import make_webhooks
from freehold.app.work import make_work
from freehold.batches.payers import Payers
from freehold.calls import Handler
from freehold.config import Configuration
from freehold.gateway.switch import Switch
from freehold.jobs.alerts import Alerts, AlertSettings
from freehold.ledger.manage import Budgets
from freehold.ledger.rates import Rates
from freehold.store.call_summing import CallSumming
from freehold.store.engine import Store
from freehold.telemetry.calls import CallMetrics
from freehold.toolboxes.settings import ToolboxSettings


async def build(configuration: Configuration, replacements: Replacements | None = None) -> Application:
    """Make every part and the application of them. What was made is let go again if a later part refuses.

    Raises:
        Misconfigured: a setting does not fit; the message names it.
    """
    replaced = replacements or Replacements()
    data = data_folder(configuration.section(DataSettings).data)
    async with contextlib.AsyncExitStack() as on_error:
        toolboxes = replaced.toolboxes
        if toolboxes is None:
            toolboxes = await make_toolboxes(configuration.section(ToolboxSettings), replaced.clock, on_error)
        upstreams, answered_by = make_upstreams(configuration, replaced)
        for one in upstreams:
            on_error.push_async_callback(one.close)
        store = await Store.open(database(configuration.section(DataSettings), data), clock=replaced.clock)
        on_error.push_async_callback(store.close)
        ground = Ground(configuration, data, store, Rates.load(), replaced.clock, replaced.ids)
        keys, found = await _access(ground)
        on_error.push_async_callback(keys.close)
        ledger = await make_ledger(ground, replaced.alerts)
        on_error.push_async_callback(ledger.close)
        library, measured = make_library(ground), CallMetrics()
        knowledge = make_knowledge(ground, library.files)
        toolboxes = knowledge.beside(toolboxes)
        lasting = Lasting.of(ground, measured)

        choosing = make_choosing(ground)

        def pipeline_of(settings: Configuration) -> Handler:
            changed = dataclasses.replace(ground, configuration=settings)
            return make_pipeline(changed, upstreams, keys, ledger, library, measured, lasting, choosing)

        handler = Switch(pipeline_of(configuration))
        choosing.ask_by(handler)
        payers = Payers(ledger, Budgets(store, ledger, clock=ground.clock, ids=ground.ids))
        secrets = Secrets(store, secret_key(configuration.section(SecretSettings), data), clock=ground.clock)
        made: list[ASGIApp] = []
        own = own_toolbox(configuration.section(ToolboxSettings), toolboxes, lambda: made[0], ground.clock)
        letting_in = configuration.section(OAuthSettings)
        oauth = OAuth(store, keys, clock=ground.clock, ids=ground.ids, most_clients=letting_in.mcp_clients)
        connections = Connections(oauth, letting_in, (*toolboxes, own.name))
        parts = Parts(
            ground=ground,
            keys=keys,
            audit=AuditLog(store, ground.clock, configuration.section(AuditSettings)),
            summing=CallSumming(store, ground.clock),
            ledger=ledger,
            choosing=choosing,
            upstreams=tuple(upstreams),
            answered_by=answered_by,
            handler=handler,
            toolboxes=toolboxes,
            mcp=McpDoor({**toolboxes, own.name: own}, keys, ground.ids, connections),
            connections=connections,
            library=library,
            knowledge=knowledge,
            sessions=make_sessions(ground, handler, toolboxes, library, secrets, lasting.collector),
            batches=make_batches(
                ground, handler, upstreams[0], measured, library, payers, lambda: choosing.routing.router.rules.aliases
            ),
            payers=payers,
            webhooks=make_webhooks(ground, secrets),
            alerts=Alerts(store, configuration.section(AlertSettings), clock=ground.clock, ids=ground.ids),
            work=make_work(ground),
            measured=measured,
            lasting=lasting,
        )
        reloading = Reloading(configuration, handler, pipeline_of, (lasting, choosing), upstreams)
        made.append(make_asgi(parts))
        application = Application(parts, made[0], found, lambda settings: reloading.apply(settings, replaced))
        on_error.pop_all()
        return application


async def _access(ground: Ground) -> tuple[Keys, FirstStart]:
    """Who may use this server; on its first start, with the admin key that it makes then."""
    keys = await Keys.open(ground.store, clock=ground.clock, ids=ground.ids)
    admin = ground.configuration.section(AdminKeySettings)
    found = await first_start(ground.store, admin, ground.data, clock=ground.clock, ids=ground.ids)
    await keys.refresh()
    return keys, found
