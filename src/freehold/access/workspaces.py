"""Workspaces: the tenants of a server. Every row, and every key, belongs to one."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.clock import Clock
from freehold.errors import InvalidRequest, NotFound
from freehold.ids import NewId, new_id
from freehold.store import workspaces as rows
from freehold.store.engine import Store
from freehold.store.workspaces import Workspace

NAME_LONGEST = 255


class Workspaces:
    """Create, get, list."""

    def __init__(self, store: Store, *, clock: Clock, ids: NewId = new_id) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    async def create(self, name: str) -> Workspace:
        """A new one.

        Raises:
            InvalidRequest: the name is empty or too long.
            Conflict: it is taken.
        """
        if not 1 <= len(name) <= NAME_LONGEST or "\0" in name:
            raise InvalidRequest(f"name: a workspace's name has 1 to {NAME_LONGEST} characters")
        made = Workspace(self._ids("wrkspc"), name, self._clock.now_us(), None)
        return await self._store.write(lambda conn: rows.create(conn, made))

    async def get(self, workspace_id: str) -> Workspace:
        """One by its id. Raises `NotFound`."""
        async with self._store.read() as conn:
            found = await rows.get(conn, workspace_id)
        if found is None:
            raise NotFound(f"There is no workspace {workspace_id}.")
        return found

    async def list(self, *, limit: int = 100, after: tuple[int, str] | None = None) -> Sequence[Workspace]:
        """Newest first, from behind (`created_us`, `id`) on; one over `limit` if more follow."""
        async with self._store.read() as conn:
            return await rows.listed(conn, limit=limit, after=after)
