"""Makes what lets sessions run, and what shows them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from freehold.access.mcp_credentials import McpCredentials
from freehold.access.repository_tokens import RepositoryTokens
from freehold.access.secrets import Secrets
from freehold.agents.compacting import Context, ContextSettings
from freehold.agents.feed import Feed
from freehold.agents.forks import Forks
from freehold.agents.inbox import Inbox
from freehold.agents.judging import Judge, JudgeSettings
from freehold.agents.log import Tell
from freehold.agents.loop import Parts
from freehold.agents.model import Model
from freehold.agents.previews import Previews
from freehold.agents.repositories import SessionRepositories
from freehold.agents.runner import Runner
from freehold.agents.sessions import Sessions
from freehold.agents.stranded import Rescue, Stranded
from freehold.agents.tools.boxes import FleetTools, Outputs, Spilled, Uploads
from freehold.agents.tools.checkouts import Checkouts
from freehold.agents.tools.execution import Execution, Place
from freehold.agents.tools.provisions import Provisions
from freehold.agents.tools.remote.servers import RemoteServers, RemoteSettings
from freehold.agents.tools.web import Web, WebSettings
from freehold.app.boxes import BoxHouse
from freehold.app.ground import Ground
from freehold.app.library import Library
from freehold.calls import Handler
from freehold.environments.base import BoxFailed
from freehold.environments.copies import Copies, Copy, CopySettings
from freehold.environments.history import History, SnapshotSettings
from freehold.environments.repositories import RepositorySettings
from freehold.environments.snapshots import Snapshots
from freehold.environments.workdirs import Workdirs
from freehold.jobs.driver import Driver, DriverSettings
from freehold.jobs.owners import Owners
from freehold.ledger.bounds import context_tokens
from freehold.library.message_files import MessageFiles
from freehold.store.session_log import NewEvent
from freehold.store.sessions import SessionRows
from freehold.telemetry.boxes import BoxSpans
from freehold.telemetry.otlp import Collector
from freehold.telemetry.settings import TelemetrySettings
from freehold.telemetry.turns import Turns
from freehold.toolboxes.base import Toolbox
from freehold.toolboxes.results import Sizes
from freehold.toolboxes.settings import ToolboxSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SessionHouse:
    """What makes sessions run, and what shows them."""

    own: Sessions
    forks: Forks
    inbox: Inbox
    feed: Feed
    driver: Driver
    owners: Owners
    boxes: BoxHouse
    remote: RemoteServers
    stranded: Stranded

    async def close(self) -> None:
        """Hand sessions over, end the boxes, give our name back."""
        await self.driver.stop()
        await self.boxes.fleet.close()
        await self.remote.close()
        self.owners.close()


def make_sessions(
    ground: Ground,
    handler: Handler,
    toolboxes: Mapping[str, Toolbox],
    library: Library,
    secrets: Secrets,
    collector: Collector | None = None,
) -> SessionHouse:
    """Everything from a client's event to the agent's answer, its tools, and whoever watches."""
    store = ground.store
    clock, ids = ground.clock, ground.ids
    share = ground.configuration.section(TelemetrySettings).trace_share
    heard = None if collector is None else BoxSpans(collector, share)
    boxes = BoxHouse(ground, [library.skills.folder], library.files, heard)
    provisions = Provisions(
        SessionRows(store), library.skills, library.memories, boxes.workdirs, version=store.wakes.version
    )
    uploads = Uploads(SessionRows(store), library.files, boxes.workdirs)
    outputs = Outputs(library.files, boxes.workdirs)
    tokens = RepositoryTokens(secrets)
    checkouts = Checkouts(SessionRows(store), boxes.workdirs, boxes.repositories.clone, tokens.get, boxes.limits)
    tools = FleetTools(boxes.fleet, boxes.backend, boxes.workdirs, uploads, boxes.limits, provisions, checkouts)

    async def close_box(session_id: str) -> None:
        """And forget what was in it: the session has ended, or its files are replaced."""
        await boxes.fleet.end(session_id)
        for part in (uploads, outputs, provisions, checkouts):
            part.forget(session_id)

    async def remove_workdir(session_id: str) -> None:
        await asyncio.to_thread(boxes.workdirs.of(session_id).delete)
        if copies is not None:
            await copies.forget(session_id)

    check_files = MessageFiles(library.files).check

    async def settle(place: Place) -> None:
        await provisions.settle(place)
        await outputs.collect(place)

    snapshots = Snapshots(boxes.chores)
    history = History(snapshots, ground.configuration.section(SnapshotSettings), clock)
    copying = ground.configuration.section(CopySettings)
    copies = Copies(Path(copying.file_copies), snapshots, clock) if copying.file_copies else None

    async def rested(place: Place, seq: int) -> None:
        try:
            await history.keep(boxes.workdirs.of(place.session_id), seq)
            if copies is not None:
                await copies.keep(place.session_id, boxes.workdirs.of(place.session_id), seq)
        except (BoxFailed, OSError) as error:
            log.warning("the files of %s were not kept as they are: %s", place.session_id, error)

    own = Sessions(
        store,
        library.files,
        clock=clock,
        ids=ids,
        close_box=close_box,
        remove_workdir=remove_workdir,
        pin=library.skills.pinned,
        check_files=check_files,
        priced=lambda model: ground.rates.card(model) is not None,
        repositories=SessionRepositories(
            tokens, ground.configuration.section(RepositorySettings), clock=clock, ids=ids
        ),
    )
    forks = Forks(
        store, library.files, history, boxes.workdirs, close_box=close_box, clock=clock, ids=ids, site=boxes.site
    )
    toolbox_settings = ground.configuration.section(ToolboxSettings)
    sizes = Sizes(toolbox_settings.tool_result_bytes, toolbox_settings.tool_media_bytes)
    remote_settings = ground.configuration.section(RemoteSettings)
    remote = RemoteServers(remote_settings, sizes, McpCredentials(secrets).headers)
    previews = Previews()
    feed = Feed(store, previews, clock=clock)
    model = Model(handler, clock=clock, ids=ids, price=ground.rates.cost)
    tell = _tells(ground, feed, collector)
    parts = Parts(
        model=model,
        judge=Judge(model, ground.configuration.section(JudgeSettings)),
        execution=Execution(
            tools,
            toolboxes,
            Spilled(boxes.workdirs).keep,
            Web(ground.configuration.section(WebSettings)),
            remote,
            toolbox_settings.tool_retry,
        ),
        previews=previews,
        clock=clock,
        ids=ids,
        collect_outputs=settle,
        rested=rested,
        uploads=uploads.refresh,
        given=provisions.given,
        context=Context(ground.configuration.section(ContextSettings), context_tokens),
        tell=tell,
        site=boxes.site,
    )
    owners = Owners(ground.data / "owners", ids)
    settings = ground.configuration.section(DriverSettings)
    driver = Driver(store, owners, Runner(store, parts).work, clock=clock, settings=settings, site=boxes.site)
    inbox = Inbox(store, clock=clock, ids=ids, tell=tell, check_files=check_files)
    stranded = Stranded(store, boxes.site, rescue=_rescue(copying, copies, boxes), clock=clock, ids=ids)
    return SessionHouse(own, forks, inbox, feed, driver, owners, boxes, remote, stranded)


def _rescue(settings: CopySettings, copies: Copies | None, boxes: BoxHouse) -> Rescue | None:
    """How files come here whose own machine is gone, where that was asked for."""
    if copies is None or not settings.take_over_files:
        return None

    return Rescuing(copies, boxes.workdirs)


@dataclass(frozen=True, slots=True)
class Rescuing:
    """See `Rescue`."""

    copies: Copies
    workdirs: Workdirs

    def has(self, session_id: str) -> bool:
        """See `Rescue`."""
        return self.copies.has(session_id)

    async def restore(self, session_id: str) -> Copy | None:
        """See `Rescue`."""
        workdir = self.workdirs.of(session_id)
        copy = await self.copies.restore(session_id, workdir)
        await asyncio.to_thread(workdir.remember, epoch=0)  # the model is told that the shell it knew is gone
        return copy


def _tells(ground: Ground, feed: Feed, collector: Collector | None) -> Tell:
    """Who hears of every event that goes into a log: the streams, and where sessions are traced, the collector."""
    if collector is None:
        return feed.offer
    turns = Turns(collector, ground.configuration.section(TelemetrySettings).trace_share)

    def tell(session_id: str, first_seq: int, events: Sequence[NewEvent]) -> None:
        feed.offer(session_id, first_seq, events)
        turns(session_id, first_seq, events)

    return tell
