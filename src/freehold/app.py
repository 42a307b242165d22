"""The composition root: settings in, an ASGI application out. The only file that knows all parts, and that makes them.

It decides nothing that a part could decide for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from freehold.access.first_start import AdminKeySettings, FirstStart, first_start
from freehold.access.keys import Keys
from freehold.access.secrets import Secrets, SecretSettings, secret_key
from freehold.access.workspaces import Workspaces
from freehold.agents.feed import Feed
from freehold.agents.inbox import Inbox
from freehold.agents.loop import Parts
from freehold.agents.model import Model
from freehold.agents.previews import Previews
from freehold.agents.runner import Runner
from freehold.agents.sessions import Sessions
from freehold.agents.tools.boxes import FleetTools, Outputs, Uploads
from freehold.agents.tools.execution import Execution, Place
from freehold.agents.tools.provisions import Provisions
from freehold.api import (
    agents,
    base,
    batches,
    bills,
    budgets,
    environments,
    events,
    exports,
    files,
    health,
    keys,
    memory_stores,
    metrics,
    models,
    resources,
    sessions,
    skills,
    threads,
    usage_reports,
    webhooks,
    workspaces,
)
from freehold.api.definitions import Definitions
from freehold.api.messages import ROUTES, MessagesRoute
from freehold.api.toolsets import Toolsets
from freehold.batches.answers import Answers
from freehold.batches.choice import chooser
from freehold.batches.collected import Collected
from freehold.batches.keeper import Keeper
from freehold.batches.lifecycle import Batches
from freehold.batches.local import LocalEngine
from freehold.batches.pace import Interactive, Pace
from freehold.batches.settings import BatchSettings
from freehold.batches.upstream import UpstreamEngine
from freehold.calls import Handler
from freehold.clock import Clock, SystemClock
from freehold.config import Configuration, setting
from freehold.environments.base import Boxes, Limits
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.egress import Egress
from freehold.environments.fallback import Fallback
from freehold.environments.fleet import BoxSettings, Fleet
from freehold.environments.local import Local
from freehold.environments.networking import EgressSettings
from freehold.environments.packages import LayerSettings
from freehold.environments.workdirs import Workdirs
from freehold.errors import Misconfigured
from freehold.gateway import pipeline
from freehold.gateway.backoff import RetrySettings
from freehold.gateway.catalogue import Catalogue
from freehold.gateway.middleware.budgets import Budgets as BudgetsMiddleware
from freehold.gateway.middleware.files import FilesInMessages
from freehold.gateway.middleware.limits import Limits as CallLimits
from freehold.gateway.middleware.limits import LimitSettings
from freehold.gateway.routes import FallbackSettings
from freehold.ids import NewId, new_id
from freehold.jobs.driver import Driver, DriverSettings
from freehold.jobs.owners import Owners
from freehold.jobs.webhooks import Webhooks, WebhookSettings
from freehold.ledger.bounds import Bounds
from freehold.ledger.ledger import Hook, Ledger, LedgerSettings, log_alert
from freehold.ledger.manage import Budgets
from freehold.ledger.rates import Rates
from freehold.library.blobs import Blobs
from freehold.library.exports import Export
from freehold.library.files import Files, FilesSettings
from freehold.library.imports import Import
from freehold.library.memories import Memories
from freehold.library.message_files import MessageFiles
from freehold.library.skills import Skills
from freehold.library.sweeper import Sweeper
from freehold.outbound.client import Client
from freehold.outbound.connection import Limits as WayOutLimits
from freehold.outbound.dial import Dialer, parse_url
from freehold.simulator.upstream import Simulator
from freehold.store.agents import AgentRows
from freehold.store.batches import BatchRows
from freehold.store.blobs import BlobUsers
from freehold.store.engine import Store
from freehold.store.environments import EnvironmentRows
from freehold.store.files import FileRows
from freehold.store.memories import MemoryRows
from freehold.store.memory_stores import MemoryStoreRows
from freehold.store.memory_versions import MemoryVersionRows
from freehold.store.restoring import Restoring
from freehold.store.sessions import SessionRows
from freehold.store.skills import SkillRows
from freehold.store.webhooks import WebhookRows
from freehold.telemetry.calls import CallMetrics
from freehold.toolboxes.base import Toolbox
from freehold.toolboxes.load import load_toolboxes
from freehold.toolboxes.settings import ToolboxSettings
from freehold.upstreams.base import RunsBatches, Upstream
from freehold.upstreams.claude import Claude, Credential
from freehold.upstreams.pool import KeyPool
from freehold.upstreams.settings import Entry, UpstreamsSettings, entries

log = logging.getLogger(__name__)

CLAUDE_URL = "https://api.anthropic.com"
_SWEEP_S = 600.0


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Where things are kept."""

    data: Path = setting(
        Path("freehold-data"), "Folder for everything that is kept: database, files, workspaces, keys."
    )
    database: str | None = setting(
        None, "Address of the database, `sqlite:///path` or `postgresql://…`; left out: SQLite in the data folder."
    )


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """Who answers the calls."""

    upstream: str = setting(
        "auto",
        "`simulator`, `claude`, or the base URL of a server that speaks Messages. `auto` is Claude when "
        "ANTHROPIC_API_KEY is set, else the simulator.",
    )
    upstream_key: str | None = setting(None, "Key for the upstream; left out: ANTHROPIC_API_KEY.", secret=True)
    model_aliases: dict[str, Any] = setting(
        {}, "Which model the upstream is asked for when a client asks for another, as `[model_aliases]` in the file."
    )


@dataclass(frozen=True, slots=True)
class SafetySettings:
    """What is allowed although it is not safe."""

    unsafe_no_isolation: bool = setting(
        False, "Run agent tools as this server's own user where no box can be made. They can read what it can."
    )


def sections() -> list[type[Any]]:
    """Every settings class of the parts that are made here, in the order of the reference page."""
    return [
        DataSettings,
        UpstreamSettings,
        UpstreamsSettings,
        RetrySettings,
        FallbackSettings,
        LimitSettings,
        metrics.MetricsSettings,
        ToolboxSettings,
        BoxSettings,
        EgressSettings,
        LayerSettings,
        DriverSettings,
        BatchSettings,
        WebhookSettings,
        FilesSettings,
        LedgerSettings,
        AdminKeySettings,
        SecretSettings,
        SafetySettings,
    ]


@dataclass(frozen=True, slots=True)
class Replacements:
    """Parts that a test or an embedding program brings along instead of what the settings say."""

    upstream: Upstream | None = None
    toolboxes: Mapping[str, Toolbox] | None = None
    clock: Clock = field(default_factory=SystemClock)
    ids: NewId = new_id
    alerts: Hook = log_alert
    """Is told when a soft budget has reached its limit."""


class Application:
    """The parts, running or not. `asgi` serves; `start` before and `stop` after it."""

    def __init__(self, parts: _Parts, asgi: ASGIApp, found: FirstStart) -> None:
        self.asgi = asgi
        self.store = parts.store
        self.handler = parts.handler
        self.upstream = parts.upstream
        self.boxes = parts.sessions.boxes.backend
        self.first_start = found
        self._parts = parts
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Look at what boxes this machine can make, then begin the work that nobody asks for."""
        parts = self._parts
        await parts.sessions.boxes.look()
        parts.sessions.driver.start()
        parts.batches.start()
        parts.webhooks.start()
        self._tasks = [
            asyncio.create_task(parts.sessions.boxes.fleet.run(), name="idle boxes"),
            asyncio.create_task(_sweep([parts.library.tidy, parts.sessions.boxes.tidy], parts.clock), name="sweep"),
        ]

    def drain(self) -> None:
        """The server was asked to stop: end the streams that would never end, so that it can."""
        self._parts.sessions.feed.close()

    async def stop(self) -> None:
        """Let every part go, the store last, each even if one before it fails. All acknowledged is on disk then."""
        self.drain()
        parts = self._parts
        async with contextlib.AsyncExitStack() as last_first:
            last_first.push_async_callback(parts.store.close)
            last_first.push_async_callback(parts.keys.close)
            last_first.push_async_callback(parts.ledger.close)
            for upstream in (parts.upstream, *parts.others):
                last_first.push_async_callback(upstream.close)
            for toolbox in parts.toolboxes.values():
                last_first.push_async_callback(toolbox.close)
            last_first.push_async_callback(parts.sessions.close)
            last_first.push_async_callback(parts.batches.close)
            last_first.push_async_callback(parts.webhooks.close)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def describe(self) -> Sequence[str]:
        """What the ready line tells, a few words each."""
        lines = [f"answers come from {self._parts.answered_by}", self._parts.sessions.boxes.described]
        if self._parts.toolboxes:
            lines.append(f"toolboxes: {', '.join(sorted(self._parts.toolboxes))}")
        return lines


@dataclass(frozen=True, slots=True)
class _Library:
    """What agents are given, and what keeps it tidy."""

    files: Files
    skills: Skills
    memories: Memories
    sweeper: Sweeper
    scratch: Callable[[], IO[bytes]]
    """A file without a name on the disk of the data folder."""
    export: Export
    taking: Import

    async def tidy(self) -> None:
        """Forget what is over: expired files, old versions of memories, then blobs that nothing needs."""
        await self.files.forget_expired()
        await self.memories.forget_old_versions()
        await self.sweeper.sweep()


class _Boxes:
    """The backend that was chosen, what it was found to have, and the fleet of its boxes."""

    def __init__(self, configuration: Configuration, data: Path, shared: Sequence[Path], clock: Clock) -> None:
        self.workdirs = Workdirs(data / "sessions")
        self._layers = configuration.section(LayerSettings)
        self._walled = Bubblewrap(
            self.workdirs.root,
            egress=Egress(configuration.section(EgressSettings)),
            layers=self._layers,
            clock=clock,
            shared=shared,
        )
        self._unsafe = configuration.section(SafetySettings).unsafe_no_isolation
        self.backend: Boxes = self._walled
        if self._unsafe:
            self.backend = Fallback(self._walled, Local(unsafe_no_isolation=True))
        self.fleet = Fleet(self.backend, configuration.section(BoxSettings), clock)
        self.described = "boxes: not looked at"

    async def look(self) -> None:
        """Open a box and see. Where there is no isolation, agent tools will be refused, and it is said here."""
        found = await self.backend.probe()
        if found.isolated:
            self.described = f"boxes: {found.backend}"
            return
        self.described = "agent tools run WITHOUT ISOLATION" if self._unsafe else "no boxes: agent tools are refused"
        if not self._unsafe:
            log.warning("no box can be made, so agent tools are refused: %s (see `freehold doctor`)", found.reason)

    async def tidy(self) -> None:
        """Remove packages that nobody has used for long."""
        for key in await self._walled.collect_layers(self._layers.layer_kept_days):
            log.info("removed the installed packages %s, which no box has used for long", key)


@dataclass(frozen=True, slots=True)
class _Sessions:
    """What makes sessions run, and what shows them."""

    own: Sessions
    inbox: Inbox
    feed: Feed
    driver: Driver
    owners: Owners
    boxes: _Boxes

    async def close(self) -> None:
        """Hand sessions over, end the boxes, give our name back."""
        await self.driver.stop()
        await self.boxes.fleet.close()
        self.owners.close()


class _Batches:
    """What takes batches in, works on them, and looks after them."""

    def __init__(
        self, own: Batches, local: LocalEngine, upstream: UpstreamEngine | None, keeper: Keeper, owners: Owners
    ) -> None:
        self.own = own
        self._local = local
        self._upstream = upstream
        self._keeper = keeper
        self._owners = owners
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to work."""
        self._local.start()
        self._tasks = [asyncio.create_task(self._keeper.run(), name="batch keeper")]
        if self._upstream is not None:
            self._tasks.append(asyncio.create_task(self._upstream.run(), name="upstream batches"))

    async def close(self) -> None:
        """Hand the items over, give our name back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._local.stop()
        self._owners.close()


class _Webhooks:
    """Who is told, and what tells them."""

    def __init__(self, rows: WebhookRows, secrets: Secrets, sender: Webhooks) -> None:
        self.rows = rows
        self.secrets = secrets
        self._sender = sender
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.create_task(self._sender.run(), name="webhooks")

    async def close(self) -> None:
        """What waits is sent by the next start, or by another process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Parts:
    """Everything that was made, by name."""

    clock: Clock
    ids: NewId
    store: Store
    keys: Keys
    ledger: Ledger
    upstream: Upstream
    others: tuple[Upstream, ...]
    """Further upstreams that calls fall back on."""
    answered_by: str
    handler: Handler
    toolboxes: Mapping[str, Toolbox]
    library: _Library
    sessions: _Sessions
    batches: _Batches
    measured: CallMetrics
    metrics: metrics.MetricsSettings
    webhooks: _Webhooks


async def build(configuration: Configuration, replacements: Replacements | None = None) -> Application:
    """Make every part and the application of them. What was made is let go again if a later part refuses.

    Raises:
        Misconfigured: a setting does not fit; the message names it.
    """
    replaced = replacements or Replacements()
    data = _data_folder(configuration.section(DataSettings).data)
    async with contextlib.AsyncExitStack() as on_error:
        toolboxes = replaced.toolboxes
        if toolboxes is None:
            toolboxes = load_toolboxes(configuration.section(ToolboxSettings), replaced.clock)
        (upstream, *others), answered_by = _upstreams(configuration, replaced)
        for one in (upstream, *others):
            on_error.push_async_callback(one.close)
        store = await Store.open(_database(configuration.section(DataSettings), data), clock=replaced.clock)
        on_error.push_async_callback(store.close)
        checker = await Keys.open(store, clock=replaced.clock, ids=replaced.ids)
        on_error.push_async_callback(checker.close)
        admin = configuration.section(AdminKeySettings)
        found = await first_start(store, admin, data, clock=replaced.clock, ids=replaced.ids)
        await checker.refresh()
        secrets = Secrets(store, secret_key(configuration.section(SecretSettings), data), clock=replaced.clock)
        rates = Rates.load()
        measured = CallMetrics()
        ledger = await _ledger(configuration, replaced, data, store)
        on_error.push_async_callback(ledger.close)
        library = _library(configuration, replaced, data, store)
        retries = configuration.section(RetrySettings)
        calls = pipeline.build(
            upstream=upstream,
            spares=_spares(configuration, others),
            keys=checker,
            store=store,
            rates=rates,
            clock=replaced.clock,
            retries=retries,
            metrics=measured,
            limits=CallLimits(configuration.section(LimitSettings), replaced.clock),
            budgets=_paying(configuration, replaced, ledger, rates),
            files=FilesInMessages(MessageFiles(library.files), knows_files=upstream.name == "claude"),
        )
        interactive = Interactive()
        handler = interactive(calls)
        batches_ = _batches(configuration, replaced, data, store, calls, rates, upstream, interactive, library)
        sessions = _sessions(configuration, replaced, data, store, handler, rates, toolboxes, library)
        parts = _Parts(
            replaced.clock,
            replaced.ids,
            store,
            checker,
            ledger,
            upstream,
            tuple(others),
            answered_by,
            handler,
            toolboxes,
            library,
            sessions,
            batches_,
            measured,
            configuration.section(metrics.MetricsSettings),
            _webhooks(configuration, replaced, store, secrets),
        )
        application = Application(parts, _asgi(parts), found)
        on_error.pop_all()
        return application


async def _ledger(configuration: Configuration, replaced: Replacements, data: Path, store: Store) -> Ledger:
    return await Ledger.open(
        store,
        clock=replaced.clock,
        ids=replaced.ids,
        folder=data / "ledger",
        settings=configuration.section(LedgerSettings),
        hook=replaced.alerts,
    )


def _paying(configuration: Configuration, replaced: Replacements, ledger: Ledger, rates: Rates) -> BudgetsMiddleware:
    aliases = configuration.section(UpstreamSettings).model_aliases
    assume_us = configuration.section(LedgerSettings).bounds_assume_us
    return BudgetsMiddleware(ledger, Bounds(rates, aliases=aliases, assume_us=assume_us), rates, replaced.clock)


async def _sweep(tidies: Sequence[Callable[[], Awaitable[None]]], clock: Clock) -> None:
    """Let every part forget what is over, every ten minutes. One that fails is tried again then."""
    while True:
        for tidy in tidies:
            try:
                await tidy()
            except Exception:  # the outer edge of a job
                log.exception("a sweep failed; it is tried again")
        await clock.sleep(_SWEEP_S)


def _library(configuration: Configuration, replaced: Replacements, data: Path, store: Store) -> _Library:
    clock, ids, settings = replaced.clock, replaced.ids, configuration.section(FilesSettings)
    blobs = _blobs(data / "blobs", settings)
    sweeper = Sweeper(BlobUsers(store), blobs, clock=clock)
    return _Library(
        Files(FileRows(store), blobs, sweeper, clock=clock, ids=ids, settings=settings),
        Skills(SkillRows(store), blobs, sweeper, clock=clock, ids=ids),
        Memories(MemoryStoreRows(store), MemoryRows(store, ids=ids), MemoryVersionRows(store), clock=clock, ids=ids),
        sweeper,
        blobs.scratch,
        _export(store, blobs, replaced),
        Import(Restoring(store), blobs, clock=clock),
    )


def _blobs(folder: Path, settings: FilesSettings) -> Blobs:
    if settings.blobs_url is None:
        return Blobs(folder, floor_bytes=settings.disk_floor_bytes)
    try:
        from freehold.library.object_blobs import ObjectBlobs  # an extra: it needs fsspec
    except ImportError as error:
        raise Misconfigured("blobs_url needs the extra `objects`: pip install 'freehold[objects]'") from error
    return ObjectBlobs(folder, settings.blobs_url, floor_bytes=settings.disk_floor_bytes)


def _export(store: Store, blobs: Blobs, replaced: Replacements) -> Export:
    stores, memories, versions = MemoryStoreRows(store), MemoryRows(store, ids=replaced.ids), MemoryVersionRows(store)
    return Export(FileRows(store), SkillRows(store), stores, memories, versions, blobs, clock=replaced.clock)


def _sessions(
    configuration: Configuration,
    replaced: Replacements,
    data: Path,
    store: Store,
    handler: Handler,
    rates: Rates,
    toolboxes: Mapping[str, Toolbox],
    library: _Library,
) -> _Sessions:
    clock, ids = replaced.clock, replaced.ids
    boxes = _Boxes(configuration, data, [library.skills.folder], clock)
    provisions = Provisions(
        SessionRows(store), library.skills, library.memories, boxes.workdirs, version=store.wakes.version
    )
    uploads = Uploads(SessionRows(store), library.files, boxes.workdirs)
    outputs = Outputs(library.files, boxes.workdirs)
    tools = FleetTools(boxes.fleet, boxes.backend, boxes.workdirs, uploads, Limits(), provisions)

    async def remove_workdir(session_id: str) -> None:
        uploads.forget(session_id)
        outputs.forget(session_id)
        provisions.forget(session_id)
        await asyncio.to_thread(boxes.workdirs.of(session_id).delete)

    check_files = MessageFiles(library.files).check

    async def settle(place: Place) -> None:
        await provisions.settle(place)
        await outputs.collect(place)

    own = Sessions(
        store,
        library.files,
        clock=clock,
        ids=ids,
        close_box=boxes.fleet.end,
        remove_workdir=remove_workdir,
        pin=library.skills.pinned,
        check_files=check_files,
    )
    previews = Previews()
    feed = Feed(store, previews, clock=clock)
    parts = Parts(
        model=Model(handler, clock=clock, ids=ids, price=rates.cost),
        execution=Execution(tools, toolboxes),
        previews=previews,
        clock=clock,
        ids=ids,
        collect_outputs=settle,
        uploads=uploads.refresh,
        given=provisions.given,
        tell=feed.offer,
    )
    owners = Owners(data / "owners", ids)
    settings = configuration.section(DriverSettings)
    driver = Driver(store, owners, Runner(store, parts).work, clock=clock, settings=settings)
    inbox = Inbox(store, clock=clock, ids=ids, tell=feed.offer, check_files=check_files)
    return _Sessions(own, inbox, feed, driver, owners, boxes)


def _batches(
    configuration: Configuration,
    replaced: Replacements,
    data: Path,
    store: Store,
    handler: Handler,
    rates: Rates,
    upstream: Upstream,
    interactive: Interactive,
    library: _Library,
) -> _Batches:
    clock, ids, settings = replaced.clock, replaced.ids, configuration.section(BatchSettings)
    cheaper = upstream.name == "claude"
    choose = chooser(settings.batch_engine, has_batches=isinstance(upstream, RunsBatches), cheaper=cheaper)
    own = Batches(BatchRows(store), clock=clock, ids=ids, scratch=library.scratch, choose=choose)
    pace = Pace(settings.batch_concurrency, clock, lambda: interactive.open)
    answers = Answers(handler, pace, clock=clock, ids=ids, price=rates.cost, attempts=settings.batch_attempts)
    owners = Owners(data / "batch-owners", ids)
    local = LocalEngine(store, owners.name, answers, pace, clock=clock, ids=ids)
    there = None
    if isinstance(upstream, RunsBatches):
        collected = Collected(store, rates, upstream.name, clock=clock, ids=ids)
        there = UpstreamEngine(
            store, owners.name, upstream, collected, clock=clock, ids=ids, poll_s=settings.batch_poll_s
        )
    return _Batches(own, local, there, Keeper(store, owners, clock=clock, ids=ids), owners)


def _webhooks(configuration: Configuration, replaced: Replacements, store: Store, secrets: Secrets) -> _Webhooks:
    rows, private = WebhookRows(store), configuration.section(WebhookSettings).webhook_private_hosts
    return _Webhooks(rows, secrets, Webhooks(rows, store, secrets, clock=replaced.clock, private_hosts=private))


def _asgi(parts: _Parts) -> ASGIApp:
    hot = MessagesRoute(parts.handler, clock=parts.clock, ids=parts.ids)
    bare: dict[str, ASGIApp] = dict.fromkeys(ROUTES, hot)
    return base.application(_routes(parts), keys=parts.keys, clock=parts.clock, ids=parts.ids, bare=bare)


def _routes(parts: _Parts) -> list[BaseRoute]:
    store, clock, ids, of_sessions = parts.store, parts.clock, parts.ids, parts.sessions
    definitions = Definitions(Toolsets(parts.toolboxes), skills=True)

    tenants = Workspaces(store, clock=clock, ids=ids)

    async def ready() -> str | None:
        return None if store.healthy else "The database cannot be written; see the server's log."

    return [
        *agents.routes(AgentRows(store), definitions, clock=clock, ids=ids, skills=parts.library.skills),
        *environments.routes(EnvironmentRows(store), clock=clock, ids=ids),
        *sessions.routes(of_sessions.own, definitions, clock=clock),
        *events.routes(store, of_sessions.inbox, of_sessions.feed),
        *threads.routes(of_sessions.own, store, of_sessions.feed, clock=clock),
        *resources.routes(of_sessions.own),
        *files.routes(parts.library.files),
        *skills.routes(parts.library.skills),
        *memory_stores.routes(parts.library.memories),
        *workspaces.routes(tenants),
        *exports.routes(parts.library.export, parts.library.taking, tenants, parts.library.scratch),
        *keys.routes(parts.keys),
        *models.routes(Catalogue([parts.upstream, *parts.others], clock)),
        *batches.routes(parts.batches.own),
        *webhooks.routes(parts.webhooks.rows, parts.webhooks.secrets, clock=clock, ids=ids),
        *bills.routes(store),
        *budgets.routes(Budgets(store, parts.ledger, clock=clock, ids=ids)),
        *usage_reports.routes(store, clock=clock),
        *health.routes(ready),
        *metrics.routes(parts.measured.render, parts.metrics),
    ]


def _data_folder(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise Misconfigured(f"the data folder {folder} cannot be used: {error.strerror}") from error
    return folder.resolve()


def _database(settings: DataSettings, data: Path) -> str:
    return settings.database or f"sqlite:///{data / 'freehold.db'}"


def _upstreams(configuration: Configuration, replaced: Replacements) -> tuple[Sequence[Upstream], str]:
    """All upstreams, the first one first, and how the ready line calls them."""
    listed = entries(configuration.section(UpstreamsSettings), os.environ)
    if not listed or replaced.upstream is not None:
        upstream, described = _upstream(configuration.section(UpstreamSettings), replaced)
        return [upstream], described
    return [_listed(entry, replaced.clock) for entry in listed], ", ".join(entry.name for entry in listed)


def _listed(entry: Entry, clock: Clock) -> Upstream:
    """One of `[[upstreams]]`."""
    if entry.url == "simulator":
        simulator = Simulator(clock)
        simulator.name = entry.name
        return simulator
    url = CLAUDE_URL if entry.url == "claude" else entry.url
    limits = WayOutLimits(silence_s=entry.silence_s, stall_s=entry.stall_s)
    members = [_over_http(entry.name, url, key, entry.aliases, limits) for key in entry.keys or (None,)]
    return members[0] if len(members) == 1 else KeyPool(entry.name, members, clock)


def _spares(configuration: Configuration, others: Sequence[Upstream]) -> pipeline.Spares | None:
    settings = configuration.section(FallbackSettings)
    return pipeline.Spares(others, settings) if others or settings.routes else None


def _upstream(settings: UpstreamSettings, replaced: Replacements) -> tuple[Upstream, str]:
    """The upstream, and how the ready line calls it."""
    if replaced.upstream is not None:
        return replaced.upstream, replaced.upstream.name
    key = settings.upstream_key or os.environ.get("ANTHROPIC_API_KEY")
    chosen = settings.upstream
    if chosen == "auto":
        chosen = "claude" if key else "simulator"
    if chosen == "simulator":
        return Simulator(replaced.clock), "the simulator"
    if chosen == "claude" and not key:
        raise Misconfigured("the upstream is claude, but neither ANTHROPIC_API_KEY nor upstream_key is set")
    url = CLAUDE_URL if chosen == "claude" else chosen
    return _over_http("claude" if chosen == "claude" else "http", url, key, settings.model_aliases), url


def _over_http(
    name: str, url: str, key: str | None, aliases: Mapping[str, Any], limits: WayOutLimits | None = None
) -> Claude:
    if not all(isinstance(model, str) for model in aliases.values()):
        raise Misconfigured("model_aliases: each alias names one model, as text")
    try:
        origin, prefix = parse_url(url)
        credential = Credential.of(key)
    except ValueError as error:
        raise Misconfigured(f"upstream: {error}. Say `simulator`, `claude`, or the base URL of a server.") from error
    client = Client(origin, Dialer(public_only=False), limits=limits)
    return Claude(name, client, prefix=prefix, credential=credential, aliases=dict(aliases))
