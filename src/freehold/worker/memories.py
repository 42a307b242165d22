"""The memory stores of a session as folders that its box shows where the agent was told; kept in step by the SDK.

The SDK trusts the folder that it keeps in step, and an agent may plant links in one that it can write to. So each store
has two: the SDK's own, which no box ever shows, and the box's, which is only touched by way of `library.tree`. What
changed in the one is carried to the other before and after each sync.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anthropic import AsyncAnthropic
from anthropic.lib.tools._memories import MARKER_PATH, MEMORY_FLUSH_TIMEOUT, SessionMemoryStores
from anthropic.types.beta import BetaManagedAgentsSession

from freehold.environments.base import Folder
from freehold.library.memories import MOST_CONTENT_BYTES
from freehold.library.memory_paths import MOST_SEGMENTS
from freehold.library.tree import Tree, may_hold
from freehold.store.memories import MOST_MEMORIES

log = logging.getLogger(__name__)


class MemoryFolders:
    """Those of one session under one lease. `owner`: the user of its box, when files can be given away."""

    def __init__(self, client: AsyncAnthropic, place: Path, owner: int | None) -> None:
        """`place`: a folder that does not exist yet."""
        self._place = place
        self._owner = None if owner is None else (owner, owner)
        self._stores = SessionMemoryStores(client, workdir=place)
        self._mirrors: list[Mirror] = []
        self._syncing = asyncio.Lock()
        self.folders: Sequence[Folder] = ()

    async def download(self, session: BetaManagedAgentsSession) -> None:
        """Bring them here. Raises `anthropic.lib.tools._memories.SessionMemoryError`."""
        moved: list[Any] = []
        folders = []
        for number, resource in enumerate(session.resources):
            if resource.type != "memory_store":
                moved.append(resource)
                continue
            own, shown = self._place / f"{number}-own", self._place / f"{number}-shown"
            target = resource.mount_path or f"/mnt/memory/{resource.memory_store_id}"
            moved.append(resource.model_copy(update={"mount_path": str(own)}))
            folders.append(Folder(shown, target, writable=resource.access != "read_only"))
            self._mirrors.append(Mirror(Tree(own), Tree(shown, owner=self._owner)))
        if folders:
            await asyncio.to_thread(self._place.mkdir, 0o711, parents=True)
            await self._stores.download(session.model_copy(update={"resources": moved}))
            await self._each(Mirror.make)
            await self._each(Mirror.show)
        self.folders = folders

    async def sync(self) -> None:
        """Bring both sides together, if it is time for that."""
        if self.folders:
            async with self._syncing:
                await self._each(Mirror.take)
                await self._stores.sync_if_due()
                await self._each(Mirror.show)

    async def close(self, *, clean: bool) -> None:
        """Send what is new, and remove the folders; nothing writes there any more. `clean`: also what was deleted."""
        if not self.folders:
            return
        await self._each(Mirror.take)
        for step in (self._stores.finish, self._stores.flush_writes) if clean else (self._stores.flush_writes,):
            try:
                async with asyncio.timeout(MEMORY_FLUSH_TIMEOUT):
                    await step()
            except TimeoutError:
                log.warning("the memories of a session were not brought back whole within %g s", MEMORY_FLUSH_TIMEOUT)
        await self._stores.dispose()

    async def _each(self, step: Any) -> None:
        for mirror in self._mirrors:
            await asyncio.to_thread(step, mirror)


class Mirror:
    """One store: the SDK's folder and the box's. What stands in both is remembered by its hash.

    Each path is carried by itself: where something is in its way (a folder that the agent planted there, a link above
    it), that one waits for the next time and the others go on. Steps run one at a time, in threads.
    """

    def __init__(self, own: Tree, shown: Tree) -> None:
        self._own = own
        self._shown = shown
        self._same: dict[str, str] = {}
        self._alone = threading.Lock()

    def make(self) -> None:
        """Make the box's folder. Raises `OSError`."""
        self._shown.make()

    def take(self) -> None:
        """Carry what the agent changed to the SDK's folder. What is no memory (too large, a link) is left alone."""
        with self._alone:
            found = _files(self._shown)
            if found is None:
                return
            unread = {path for path, data in found.items() if data is None}
            for path in [path for path in self._same if path not in found and not may_hold(unread, path)]:
                self._carry(self._own, path, None)
            for path, data in found.items():
                if data is not None and self._same.get(path) != _hash(data):
                    self._carry(self._own, path, data)

    def show(self) -> None:
        """Carry what came from the server to the box's folder, but for files that the agent has changed meanwhile."""
        with self._alone:
            now, given = _files(self._shown), _files(self._own)
            if now is None or given is None:
                return
            for path in [path for path in self._same if path not in given and self._is_untouched(path, now)]:
                self._carry(self._shown, path, None)
            for path, data in given.items():
                if data is not None and self._same.get(path) != _hash(data) and self._is_untouched(path, now):
                    self._carry(self._shown, path, data)

    def _carry(self, tree: Tree, path: str, data: bytes | None) -> None:
        """Make that path the same there; `None`: take it away."""
        try:
            if data is None:
                tree.remove(path)
                del self._same[path]
            else:
                tree.write(path, data)
                self._same[path] = _hash(data)
        except OSError as error:
            log.warning("the memory %r could not be carried: %s", path[:200], error)

    def _is_untouched(self, path: str, now: Mapping[str, bytes | None]) -> bool:
        data = now.get(path)
        return (None if data is None else _hash(data)) == self._same.get(path)


def _files(tree: Tree) -> dict[str, bytes | None] | None:
    """What is there besides the SDK's own mark, `None` where it is no memory. No dictionary: it cannot be looked at."""
    most = {"most_files": MOST_MEMORIES + 100, "most_bytes": MOST_CONTENT_BYTES, "most_depth": MOST_SEGMENTS}
    try:
        found = {one.path: one.data for one in tree.files(**most)}
    except OSError as error:
        log.warning("the memories of a session could not be looked through: %s", error)
        return None
    found.pop(MARKER_PATH, None)
    return found


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
