"""Makes a worker: the boxes of this machine, for the work queue of an environment on any server."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from freehold.api.environments import config_of_settings
from freehold.app.backends import backend_of
from freehold.app.settings import DataSettings, SafetySettings
from freehold.clock import SystemClock
from freehold.config import Configuration
from freehold.environments.base import NoIsolation
from freehold.environments.bounds import BoundSettings, limits_of
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.denials import Denials
from freehold.environments.egress import Egress
from freehold.environments.fleet import BoxSettings, Fleet
from freehold.environments.images.images import ImageSettings
from freehold.environments.networking import EgressSettings
from freehold.environments.packages import LayerSettings
from freehold.environments.workdirs import Workdirs
from freehold.errors import InvalidRequest, Misconfigured
from freehold.ids import new_id
from freehold.outbound.sdk_http import http_client
from freehold.upstreams.network import Network, NetworkSettings
from freehold.worker.credentials import client_of
from freehold.worker.queue import Worker
from freehold.worker.serving import House
from freehold.worker.settings import WorkerSettings

log = logging.getLogger(__name__)

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Post:
    """Where the work is: the server's address, the environment, and the environment's key."""

    url: str
    environment_id: str
    environment_key: str


@asynccontextmanager
async def make_worker(
    configuration: Configuration, post: Post, heard: Callable[[str, str], None]
) -> AsyncIterator[Worker]:
    """A worker whose boxes this machine can make. `heard` is told what happens (`begins`, `ended`), and to which
    session.

    Raises:
        Misconfigured: its `worker_environment` is none, or its `box_backend`.
        NoIsolation: no box can be made here, and running tools without was not allowed.
    """
    chosen, clock = configuration.section, SystemClock()
    settings, bounds = chosen(WorkerSettings), chosen(BoundSettings)
    environment = _environment(settings, bounds)
    workdirs = Workdirs(chosen(DataSettings).data.absolute() / "worker")
    walled = Bubblewrap(
        workdirs.root,
        egress=Egress(chosen(EgressSettings), Denials(workdirs, clock)),
        layers=chosen(LayerSettings),
        clock=clock,
        warm=chosen(BoxSettings).warm_boxes,
        image_settings=chosen(ImageSettings),
    )
    boxes = backend_of(configuration, walled)
    found = await boxes.probe()
    if not found.isolated and not chosen(SafetySettings).unsafe_no_isolation:
        await boxes.close()
        raise NoIsolation(found.reason)
    fleet = Fleet(boxes, chosen(BoxSettings), clock)
    house = House(fleet, boxes, workdirs, environment, limits_of(environment, bounds), settings.worker_idle_s)
    network = Network.of(chosen(NetworkSettings))
    way = http_client(lambda origin: network.client(origin, os.environ))
    client = client_of(post.url, post.environment_key, way)
    tidy = _Tidy(workdirs, settings.worker_kept_days)
    sweeping = asyncio.create_task(fleet.run(), name="idle boxes")
    try:
        yield Worker(
            client, post.environment_id, post.environment_key, house, settings.worker_at_once, new_id, heard, tidy
        )
    finally:
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)
        await fleet.close()
        await way.aclose()


def _environment(settings: WorkerSettings, bounds: BoundSettings) -> dict[str, object]:
    try:
        return config_of_settings(settings.worker_environment, bounds)
    except InvalidRequest as error:
        raise Misconfigured(f"worker_environment: {error.message}") from None


class _Tidy:
    """Removes the files of sessions that nobody has used for long, once an hour at most."""

    def __init__(self, workdirs: Workdirs, kept_days: float) -> None:
        self._workdirs = workdirs
        self._kept_s = kept_days * _DAY_S
        self._next_s = 0.0

    async def __call__(self) -> None:
        now_s = time.time()
        if now_s < self._next_s:
            return
        self._next_s = now_s + 3_600
        try:
            for session_id in await asyncio.to_thread(self._old, now_s - self._kept_s):
                await asyncio.to_thread(self._workdirs.of(session_id).delete)
        except OSError:
            log.exception("old files of sessions could not be removed; that is tried again in an hour")

    def _old(self, before_s: float) -> list[str]:
        if not self._workdirs.root.exists():
            return []
        folders = [path for path in self._workdirs.root.iterdir() if path.name.startswith("sesn_") and path.is_dir()]
        return [path.name for path in folders if _used_s(path) < before_s]


def _used_s(folder: os.PathLike[str]) -> float:
    """The last use of a session's folder; every call is written down in `begun`."""
    begun = os.path.join(folder, "begun")
    return os.stat(begun if os.path.exists(begun) else folder).st_mtime
