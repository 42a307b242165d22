"""Repositories as resources of sessions: what may be asked for, what is kept of it, and the token apart from it.

They are cloned before the first tool of a session runs (`agents/tools/checkouts.py`). It knows no HTTP and no git.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from freehold.agents.mounts import refuse_clashes, repository_path
from freehold.clock import Clock
from freehold.environments.repositories import RepositorySettings, check_checkout, check_url, name_of
from freehold.errors import InvalidRequest
from freehold.ids import NewId
from freehold.store.sessions import ResourceRow

MOST_REPOSITORIES = 20
TYPE = "github_repository"
TOKEN = "token"
"""In the body of a resource: under which name its token is kept. Never shown."""


@dataclass(frozen=True, slots=True)
class NewRepository:
    """A repository that a session is given. `checkout`: as the API has it, a branch or a commit."""

    url: str
    mount_path: str | None = None
    checkout: dict[str, Any] | None = None
    token: str | None = field(default=None, repr=False)


class KeepsTokens(Protocol):
    """Where tokens are kept; `RepositoryTokens` does."""

    async def keep(self, workspace_id: str, session_id: str, resource_id: str, token: str) -> str:
        """Gives the name by which it is found. Raises `InvalidRequest`."""
        ...

    async def forget(self, workspace_id: str, session_id: str) -> None:
        """All of a session."""
        ...


class SessionRepositories:
    """Makes resources of them."""

    def __init__(self, tokens: KeepsTokens, settings: RepositorySettings, *, clock: Clock, ids: NewId) -> None:
        self._tokens = tokens
        self._settings = settings
        self._clock = clock
        self._ids = ids

    async def made(self, workspace_id: str, session_id: str, wanted: Sequence[NewRepository]) -> list[ResourceRow]:
        """The resources of a session that is about to be made; their tokens are kept.

        Raises:
            InvalidRequest: an address, a branch, a commit, a path or a token will not do, or there are too many.
        """
        if len(wanted) > MOST_REPOSITORIES:
            raise InvalidRequest(f"resources: {len(wanted)} repositories, at most {MOST_REPOSITORIES} are taken.")
        rows = [self._row(new) for new in wanted]
        refuse_clashes([row.body["mount_path"] for row in rows])
        return [
            row if new.token is None else await self.with_token(workspace_id, session_id, row, new.token)
            for row, new in zip(rows, wanted, strict=True)
        ]

    async def with_token(self, workspace_id: str, session_id: str, row: ResourceRow, token: str) -> ResourceRow:
        """The same resource with another token.

        Raises:
            InvalidRequest: it is no repository, or that is no token.
        """
        if row.type != TYPE:
            raise InvalidRequest(f"authorization_token: only a {TYPE} has one, and this resource is a {row.type}.")
        name = await self._tokens.keep(workspace_id, session_id, row.id, token)
        return replace(row, body={**row.body, TOKEN: name}, updated_us=self._clock.now_us())

    async def forget(self, workspace_id: str, session_id: str) -> None:
        """The session is gone, or was never made."""
        await self._tokens.forget(workspace_id, session_id)

    def _row(self, new: NewRepository) -> ResourceRow:
        checkout = new.checkout or {}
        check_url(new.url, self._settings)
        check_checkout(checkout.get("name"), checkout.get("sha"))
        path = repository_path(name_of(new.url) if new.mount_path is None else new.mount_path)
        now_us = self._clock.now_us()
        body = {"url": new.url, "mount_path": path, "checkout": new.checkout}
        return ResourceRow(self._ids("sesrsc"), TYPE, body, now_us, now_us)
