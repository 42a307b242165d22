"""Tokens of the repositories that sessions are given, kept as sealed secrets and never shown again."""

from __future__ import annotations

from freehold.access.secrets import Secrets
from freehold.errors import InvalidRequest

_PREFIX = "repotoken"
_MOST_CHARACTERS = 4096


class RepositoryTokens:
    """Those of every workspace."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    async def keep(self, workspace_id: str, session_id: str, resource_id: str, token: str) -> str:
        """Keep one, in place of an older one of the resource; gives the name by which it is found.

        Raises:
            InvalidRequest: it cannot be a token.
        """
        if not token.isascii() or not token.isprintable() or not 0 < len(token) <= _MOST_CHARACTERS or " " in token:
            raise InvalidRequest("authorization_token: must be a token of printable characters without spaces")
        name = f"{_PREFIX}/{session_id}/{resource_id}"
        await self._secrets.put(workspace_id, name, token.encode("ascii"))
        return name

    async def get(self, workspace_id: str, name: str) -> str | None:
        """The token of that name, or `None` when it was forgotten."""
        found = await self._secrets.get(workspace_id, name)
        return None if found is None else found.decode("ascii")

    async def forget(self, workspace_id: str, session_id: str) -> None:
        """All of a session."""
        await self._secrets.remove_named(workspace_id, f"{_PREFIX}/{session_id}/")
