"""A box to try an environment in: with its packages, network and limits, and files that nobody keeps."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from freehold.app.backends import backend_of
from freehold.app.settings import DataSettings
from freehold.config import Configuration
from freehold.environments.base import Box, BoxSpec, ToolOutcome
from freehold.environments.bounds import BoundSettings, limits_of
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.egress import Egress
from freehold.environments.images.images import ImageSettings
from freehold.environments.networking import EgressSettings
from freehold.environments.packages import LayerSettings
from freehold.environments.workdirs import Workdirs

_LONGEST_MS = 3_600_000


class TrialBox:
    """An open one."""

    def __init__(self, box: Box, base: str) -> None:
        self._box = box
        self.base = base

    async def run(self, command: str) -> ToolOutcome:
        """What the command printed, in the one shell of this box. Raises `BoxDied`."""
        arguments = {"command": command, "timeout_ms": _LONGEST_MS}
        return await self._box.call("bash", arguments, key=os.urandom(8).hex(), epoch=1)


@asynccontextmanager
async def trial_box(configuration: Configuration, environment: Mapping[str, Any]) -> AsyncIterator[TrialBox]:
    """Open one with that `config`, on this machine, beside the boxes of the server with the same data folder.

    The backend is the one that is set.

    Raises:
        BoxFailed: it did not come up.
        Misconfigured: there is no such backend.
    """
    workdirs = Workdirs(configuration.section(DataSettings).data.absolute() / "sessions")
    walled = Bubblewrap(
        workdirs.root,
        egress=Egress(configuration.section(EgressSettings)),
        layers=configuration.section(LayerSettings),
        warm=0,
        image_settings=configuration.section(ImageSettings),
    )
    boxes = backend_of(configuration, walled)
    workdir = workdirs.of(f"shell_{os.urandom(6).hex()}")
    limits = limits_of(environment, configuration.section(BoundSettings))
    try:
        box = await boxes.open(BoxSpec(workdir.path.name, workdir.path, 1, limits, environment))
        try:
            yield TrialBox(box, str(workdir.meta().get("base")))
        finally:
            await box.close()
    finally:
        await boxes.close()
        await asyncio.to_thread(workdir.delete)
