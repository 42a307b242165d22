"""Rows of workspaces: the tenants. Every other row belongs to one."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import Conflict
from freehold.store.keyset import page
from freehold.store.tables import workspaces


@dataclass(frozen=True, slots=True)
class Workspace:
    """One tenant."""

    id: str
    name: str
    created_us: int
    archived_us: int | None


async def create(conn: AsyncConnection, workspace: Workspace) -> Workspace:
    """A new one. Raises `Conflict` if the name is taken."""
    if not await _insert(conn, workspace):
        raise Conflict(f"There is a workspace named {workspace.name!r} already.")
    return workspace


async def ensure(conn: AsyncConnection, workspace: Workspace) -> Workspace:
    """The one of that name, made if there is none; its row stays locked until the operation is committed."""
    await _insert(conn, workspace)
    found = select(workspaces).where(workspaces.c.name == workspace.name).with_for_update()
    return Workspace(**(await conn.execute(found)).one()._mapping)


async def get(conn: AsyncConnection, workspace_id: str) -> Workspace | None:
    """One by its id."""
    row = (await conn.execute(select(workspaces).where(workspaces.c.id == workspace_id))).one_or_none()
    return Workspace(**row._mapping) if row else None


async def named(conn: AsyncConnection, name: str) -> Workspace | None:
    """One by its name."""
    row = (await conn.execute(select(workspaces).where(workspaces.c.name == name))).one_or_none()
    return Workspace(**row._mapping) if row else None


async def listed(conn: AsyncConnection, *, limit: int, after: tuple[int, str] | None = None) -> list[Workspace]:
    """Newest first, from behind (`created_us`, `id`) on: `limit` of them, and one more if there are more."""
    found = page(select(workspaces), (workspaces.c.created_us, workspaces.c.id), after=after, limit=limit)
    return [Workspace(**row._mapping) for row in await conn.execute(found)]


async def _insert(conn: AsyncConnection, workspace: Workspace) -> bool:
    insert = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    row = {"id": workspace.id, "name": workspace.name, "created_us": workspace.created_us}
    unless_taken = insert(workspaces).on_conflict_do_nothing(index_elements=["name"]).returning(workspaces.c.id)
    return (await conn.execute(unless_taken, row)).first() is not None
