"""Clones the repositories of a session before its first tool runs; until that has worked, no tool does.

It knows neither the log nor the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from freehold.agents.repositories import TOKEN, TYPE
from freehold.agents.tools.execution import Place
from freehold.environments.base import Limits
from freehold.environments.repositories import Repository
from freehold.environments.workdirs import Workdir, Workdirs
from freehold.store.sessions import ResourceRow, SessionRows

Clone = Callable[[Workdir, Repository, Limits], Awaitable[None]]
"""Clones into the files of a session. Raises `BoxFailed`."""
Token = Callable[[str, str], Awaitable[str | None]]
"""From a workspace and the name of a token to it."""
_DONE = "repositories"


class Checkouts:
    """Those of all sessions that this server works on. `limits`: of a box with such a `config`."""

    def __init__(
        self,
        rows: SessionRows,
        workdirs: Workdirs,
        clone: Clone,
        token: Token,
        limits: Callable[[Mapping[str, Any]], Limits],
    ) -> None:
        self._rows = rows
        self._workdirs = workdirs
        self._clone = clone
        self._token = token
        self._limits = limits
        self._locks: dict[str, asyncio.Lock] = {}
        self._done: set[str] = set()

    async def ensure(self, place: Place) -> None:
        """Clone what is not there yet, one after the other.

        Raises:
            BoxFailed: one could not be cloned; the next call tries again, with the token that it has then.
        """
        if place.session_id in self._done:
            return
        async with self._locks.setdefault(place.session_id, asyncio.Lock()):
            if place.session_id in self._done:
                return
            resources = (await self._rows.resources([place.session_id]))[place.session_id]
            for resource in resources:
                if resource.type == TYPE:
                    await self._one(place, resource)
            self._done.add(place.session_id)

    def forget(self, session_id: str) -> None:
        """The session was deleted."""
        self._done.discard(session_id)
        self._locks.pop(session_id, None)

    async def _one(self, place: Place, resource: ResourceRow) -> None:
        workdir, body = self._workdirs.of(place.session_id), resource.body
        known = (await asyncio.to_thread(workdir.meta)).get(_DONE)
        done = known if isinstance(known, list) else []
        if resource.id in done or await asyncio.to_thread(workdir.holds, body["mount_path"]):
            return  # cloned before: also where a fork began with the files of another session
        token = await self._token(place.workspace_id, body[TOKEN]) if TOKEN in body else None
        checkout = body["checkout"] or {}
        wanted = Repository(body["url"], body["mount_path"], checkout.get("name"), checkout.get("sha"), token)
        await self._clone(workdir, wanted, self._limits(place.environment))
        await asyncio.to_thread(lambda: workdir.remember(**{_DONE: [*done, resource.id]}))
