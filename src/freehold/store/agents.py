"""Rows of agents and their versions. Does not know what a definition means, or HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import CursorResult, Row, Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import NotFound
from freehold.store.engine import Store
from freehold.store.keyset import page as page_of
from freehold.store.tables import agent_versions, agents
from freehold.store.webhooks import announce


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One version of an agent. `definition` is what `api.definitions` made: all that a version can differ in."""

    id: str
    version: int
    definition: dict[str, Any]
    created_us: int
    updated_us: int
    """When this version was made."""
    archived_us: int | None


@dataclass(frozen=True, slots=True)
class AgentFilter:
    """Which agents a list holds; `None` does not filter."""

    created_gte_us: int | None = None
    created_lte_us: int | None = None
    include_archived: bool = False


class AgentRows:
    """Agents of all workspaces; every call names the one that it may see."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, workspace_id: str, agent_id: str, definition: dict[str, Any], now_us: int) -> AgentRow:
        """A new agent with version 1."""

        async def op(connection: AsyncConnection) -> AgentRow:
            await connection.execute(
                insert(agents).values(
                    id=agent_id, workspace_id=workspace_id, version=1, created_us=now_us, updated_us=now_us
                )
            )
            await announce(connection, workspace_id, "agent.created", agent_id, now_us=now_us)
            return await _add_version(connection, AgentRow(agent_id, 1, definition, now_us, now_us, None))

        return await self._store.write(op)

    async def get(self, workspace_id: str, agent_id: str, version: int | None = None) -> AgentRow:
        """The newest version, or the one asked for. Raises `NotFound`."""
        async with self._store.read() as connection:
            return await read_agent(connection, workspace_id, agent_id, version)

    async def update(
        self, workspace_id: str, agent_id: str, now_us: int, change: Callable[[AgentRow], dict[str, Any]]
    ) -> AgentRow:
        """Give the newest version to `change` and store what it returns as the next, unless nothing differs.

        `change` runs under the agent's lock and may raise to refuse.
        """

        async def op(connection: AsyncConnection) -> AgentRow:
            await _lock(connection, workspace_id, agent_id)
            row = await read_agent(connection, workspace_id, agent_id, None)
            definition = change(row)
            if definition == row.definition:
                return row
            newer = AgentRow(row.id, row.version + 1, definition, row.created_us, now_us, row.archived_us)
            await connection.execute(
                update(agents).where(agents.c.id == row.id).values(version=newer.version, updated_us=now_us)
            )
            await announce(connection, workspace_id, "agent.updated", agent_id, now_us=now_us)
            return await _add_version(connection, newer)

        return await self._store.write(op)

    async def archive(self, workspace_id: str, agent_id: str, now_us: int) -> AgentRow:
        """Archive it; once archived it stays as it was."""

        async def op(connection: AsyncConnection) -> AgentRow:
            archived: CursorResult[Any] = await connection.execute(
                update(agents)
                .where(agents.c.id == agent_id, agents.c.workspace_id == workspace_id, agents.c.archived_us.is_(None))
                .values(archived_us=now_us)
            )
            if archived.rowcount:
                await announce(connection, workspace_id, "agent.archived", agent_id, now_us=now_us)
            return await read_agent(connection, workspace_id, agent_id, None)

        return await self._store.write(op)

    async def page(
        self, workspace_id: str, wanted: AgentFilter, *, after: Sequence[Any] | None, limit: int
    ) -> list[AgentRow]:
        """The newest versions, agents made last first; one row more than `limit` if there is a next page."""
        query = _agents().where(agents.c.workspace_id == workspace_id, agent_versions.c.version == agents.c.version)
        if not wanted.include_archived:
            query = query.where(agents.c.archived_us.is_(None))
        if wanted.created_gte_us is not None:
            query = query.where(agents.c.created_us >= wanted.created_gte_us)
        if wanted.created_lte_us is not None:
            query = query.where(agents.c.created_us <= wanted.created_lte_us)
        return await self._rows(page_of(query, (agents.c.created_us, agents.c.id), after=after, limit=limit))

    async def versions(
        self, workspace_id: str, agent_id: str, *, after: Sequence[Any] | None, limit: int
    ) -> list[AgentRow]:
        """All versions, newest first; one row more than `limit` if there is a next page. Raises `NotFound`."""
        await self.get(workspace_id, agent_id)
        query = _agents().where(agents.c.workspace_id == workspace_id, agents.c.id == agent_id)
        return await self._rows(page_of(query, (agent_versions.c.version,), after=after, limit=limit))

    async def _rows(self, query: Select[Any]) -> list[AgentRow]:
        async with self._store.read() as connection:
            return [_row(row) for row in await connection.execute(query)]


async def read_agent(connection: AsyncConnection, workspace_id: str, agent_id: str, version: int | None) -> AgentRow:
    """`AgentRows.get` within a transaction of one's own."""
    query = _agents().where(agents.c.workspace_id == workspace_id, agents.c.id == agent_id)
    wanted = agents.c.version if version is None else version
    found = (await connection.execute(query.where(agent_versions.c.version == wanted))).first()
    if found is None:
        which = "" if version is None else f" with a version {version}"
        raise NotFound(f"There is no agent {agent_id!r}{which}.")
    return _row(found)


async def _lock(connection: AsyncConnection, workspace_id: str, agent_id: str) -> None:
    query = select(agents.c.id).where(agents.c.id == agent_id, agents.c.workspace_id == workspace_id)
    await connection.execute(query.with_for_update())  # SQLite has one writer at a time and needs no lock


async def _add_version(connection: AsyncConnection, row: AgentRow) -> AgentRow:
    body = msgspec.json.encode(row.definition).decode()
    await connection.execute(
        insert(agent_versions).values(agent_id=row.id, version=row.version, body=body, created_us=row.updated_us)
    )
    return row


def _agents() -> Select[Any]:
    return select(
        agents.c.id,
        agent_versions.c.version,
        agent_versions.c.body,
        agents.c.created_us,
        agent_versions.c.created_us.label("updated_us"),
        agents.c.archived_us,
    ).join(agent_versions, agent_versions.c.agent_id == agents.c.id)


def _row(row: Row[Any]) -> AgentRow:
    return AgentRow(row.id, row.version, msgspec.json.decode(row.body), row.created_us, row.updated_us, row.archived_us)
