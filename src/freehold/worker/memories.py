"""The memory stores of a session as folders that its box shows where the agent was told; kept in step by the SDK.

The SDK puts a store at the path where the agent is to find it. That path is the box's, not this machine's, so each
store gets a folder of the session here, which the box mounts there.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anthropic import AsyncAnthropic
from anthropic.lib.tools._memories import MEMORY_FLUSH_TIMEOUT, SessionMemoryStores
from anthropic.types.beta import BetaManagedAgentsSession

from freehold.environments.base import Folder
from freehold.environments.workdirs import give

log = logging.getLogger(__name__)


class MemoryFolders:
    """Those of one session under one lease. `owner`: the user of its box, when files can be given away."""

    def __init__(self, client: AsyncAnthropic, place: Path, owner: int | None) -> None:
        """`place`: a folder that does not exist yet."""
        self._place = place
        self._owner = owner
        self._stores = SessionMemoryStores(client, workdir=place)
        self.folders: Sequence[Folder] = ()

    async def download(self, session: BetaManagedAgentsSession) -> None:
        """Bring them here. Raises `anthropic.lib.tools._memories.SessionMemoryError`."""
        moved: list[Any] = []
        folders = []
        for number, resource in enumerate(session.resources):
            if resource.type != "memory_store":
                moved.append(resource)
                continue
            source = self._place / str(number)
            target = resource.mount_path or f"/mnt/memory/{resource.memory_store_id}"
            moved.append(resource.model_copy(update={"mount_path": str(source)}))
            folders.append(Folder(source, target, writable=resource.access != "read_only"))
        if folders:
            await asyncio.to_thread(self._place.mkdir, 0o711, parents=True)
            await self._stores.download(session.model_copy(update={"resources": moved}))
            await asyncio.to_thread(give_all, self._place, self._owner)
        self.folders = folders

    async def sync(self) -> None:
        """Bring both sides together, if it is time for that."""
        if self.folders:
            await self._stores.sync_if_due()
            await asyncio.to_thread(give_all, self._place, self._owner)

    async def close(self, *, clean: bool) -> None:
        """Send what is new, and remove the folders; nothing writes there any more. `clean`: also what was deleted."""
        if not self.folders:
            return
        for step in (self._stores.finish, self._stores.flush_writes) if clean else (self._stores.flush_writes,):
            try:
                async with asyncio.timeout(MEMORY_FLUSH_TIMEOUT):
                    await step()
            except TimeoutError:
                log.warning("the memories of a session were not brought back whole within %g s", MEMORY_FLUSH_TIMEOUT)
        await self._stores.dispose()
        await asyncio.to_thread(_remove_empty, self._place)


def give_all(place: Path, owner: int | None) -> None:
    """Everything below that folder to the user of a box (`None`: nothing can be given away)."""
    if owner is None:
        return
    for folder, _, files in os.walk(place):
        for path in (Path(folder), *(Path(folder) / name for name in files)):
            if not path.is_symlink() and path != place:
                give(path, owner)


def _remove_empty(place: Path) -> None:
    try:
        place.rmdir()
    except OSError:
        log.warning("%s still holds memories that could not be sent", place)
