"""Rows of environments. Does not know what a configuration means, or HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import CursorResult, Row, Select, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import Conflict, NotFound
from freehold.store.engine import Store
from freehold.store.keys import revoke_workers
from freehold.store.keyset import page as page_of
from freehold.store.tables import environments, sessions
from freehold.store.webhooks import announce


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """One environment. `body` holds name, description, config, metadata, scope."""

    id: str
    body: dict[str, Any]
    created_us: int
    updated_us: int
    archived_us: int | None


class EnvironmentRows:
    """Environments of all workspaces; every call names the one that it may see."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, workspace_id: str, environment_id: str, body: dict[str, Any], now_us: int) -> EnvironmentRow:
        """A new environment."""

        async def op(connection: AsyncConnection) -> EnvironmentRow:
            await connection.execute(
                insert(environments).values(
                    id=environment_id,
                    workspace_id=workspace_id,
                    body=_encoded(body),
                    created_us=now_us,
                    updated_us=now_us,
                )
            )
            await announce(connection, workspace_id, "environment.created", environment_id, now_us=now_us)
            return EnvironmentRow(environment_id, body, now_us, now_us, None)

        return await self._store.write(op)

    async def get(self, workspace_id: str, environment_id: str) -> EnvironmentRow:
        """Raises `NotFound`."""
        async with self._store.read() as connection:
            return await read_environment(connection, workspace_id, environment_id)

    async def update(
        self, workspace_id: str, environment_id: str, now_us: int, change: Callable[[EnvironmentRow], dict[str, Any]]
    ) -> EnvironmentRow:
        """Store what `change` makes of the present row; it runs under the row's lock and may raise to refuse."""

        async def op(connection: AsyncConnection) -> EnvironmentRow:
            row = await read_environment(connection, workspace_id, environment_id, lock=True)
            body = change(row)
            if body == row.body:
                return row
            await connection.execute(
                update(environments)
                .where(environments.c.id == environment_id)
                .values(body=_encoded(body), updated_us=now_us)
            )
            await announce(connection, workspace_id, "environment.updated", environment_id, now_us=now_us)
            return EnvironmentRow(row.id, body, row.created_us, now_us, row.archived_us)

        return await self._store.write(op)

    async def archive(self, workspace_id: str, environment_id: str, now_us: int) -> EnvironmentRow:
        """Archive it; once archived it stays as it was."""

        async def op(connection: AsyncConnection) -> EnvironmentRow:
            archived: CursorResult[Any] = await connection.execute(
                update(environments)
                .where(
                    environments.c.id == environment_id,
                    environments.c.workspace_id == workspace_id,
                    environments.c.archived_us.is_(None),
                )
                .values(archived_us=now_us)
            )
            if archived.rowcount:
                await announce(connection, workspace_id, "environment.archived", environment_id, now_us=now_us)
            return await read_environment(connection, workspace_id, environment_id)

        return await self._store.write(op)

    async def delete(self, workspace_id: str, environment_id: str, now_us: int) -> None:
        """Delete it for good. Raises `NotFound`, or `Conflict` while a session refers to it."""

        async def op(connection: AsyncConnection) -> None:
            await read_environment(connection, workspace_id, environment_id, lock=True)
            used = exists().where(sessions.c.environment_id == environment_id)
            if (await connection.execute(select(used))).scalar():
                raise Conflict(
                    f"A session refers to the environment {environment_id!r}. Delete its sessions first, or archive it."
                )
            await revoke_workers(connection, environment_id, self._store.clock.now_us())
            await connection.execute(delete(environments).where(environments.c.id == environment_id))
            await announce(connection, workspace_id, "environment.deleted", environment_id, now_us=now_us)

        await self._store.write(op, wake=["keys"])

    async def page(
        self, workspace_id: str, *, include_archived: bool, after: Sequence[Any] | None, limit: int
    ) -> list[EnvironmentRow]:
        """Those made last first; one row more than `limit` if there is a next page."""
        query = select(environments).where(environments.c.workspace_id == workspace_id)
        if not include_archived:
            query = query.where(environments.c.archived_us.is_(None))
        return await self._rows(
            page_of(query, (environments.c.created_us, environments.c.id), after=after, limit=limit)
        )

    async def _rows(self, query: Select[Any]) -> list[EnvironmentRow]:
        async with self._store.read() as connection:
            return [_row(row) for row in await connection.execute(query)]


async def read_environment(
    connection: AsyncConnection, workspace_id: str, environment_id: str, *, lock: bool = False
) -> EnvironmentRow:
    """`EnvironmentRows.get` within a transaction of one's own, locking the row against others if told to."""
    query = select(environments).where(environments.c.workspace_id == workspace_id, environments.c.id == environment_id)
    found = (await connection.execute(query.with_for_update() if lock else query)).first()
    if found is None:
        raise NotFound(f"There is no environment {environment_id!r}.", details={"error_code": "environment_not_found"})
    return _row(found)


def _encoded(body: dict[str, Any]) -> str:
    return msgspec.json.encode(body).decode()


def _row(row: Row[Any]) -> EnvironmentRow:
    return EnvironmentRow(row.id, msgspec.json.decode(row.body), row.created_us, row.updated_us, row.archived_us)
