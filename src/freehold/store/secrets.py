"""Rows of sealed secrets. What is inside, only `access.secrets` can tell."""

from __future__ import annotations

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.tables import sealed_secrets


async def put(conn: AsyncConnection, workspace_id: str, name: str, sealed: bytes, now_us: int) -> None:
    """Store one, in place of an older one of the same name."""
    await remove(conn, workspace_id, name)
    row = {"workspace_id": workspace_id, "name": name, "sealed": sealed, "created_us": now_us}
    await conn.execute(insert(sealed_secrets), row)


async def get(conn: AsyncConnection, workspace_id: str, name: str) -> bytes | None:
    """One, still sealed."""
    which = (sealed_secrets.c.workspace_id == workspace_id, sealed_secrets.c.name == name)
    sealed: bytes | None = (await conn.execute(select(sealed_secrets.c.sealed).where(*which))).scalar_one_or_none()
    return sealed


async def named(conn: AsyncConnection, workspace_id: str, prefix: str) -> list[tuple[str, bytes]]:
    """Those of a workspace whose names begin so, still sealed, by name."""
    begins = sealed_secrets.c.name.startswith(prefix, autoescape=True)
    which = select(sealed_secrets.c.name, sealed_secrets.c.sealed).where(
        sealed_secrets.c.workspace_id == workspace_id, begins
    )
    return [(row.name, row.sealed) for row in await conn.execute(which.order_by(sealed_secrets.c.name))]


async def remove_named(conn: AsyncConnection, workspace_id: str, prefix: str) -> None:
    """Forget all of a workspace whose names begin so."""
    begins = sealed_secrets.c.name.startswith(prefix, autoescape=True)
    await conn.execute(delete(sealed_secrets).where(sealed_secrets.c.workspace_id == workspace_id, begins))


async def remove(conn: AsyncConnection, workspace_id: str, name: str) -> bool:
    """Forget one; false if there was none."""
    which = (sealed_secrets.c.workspace_id == workspace_id, sealed_secrets.c.name == name)
    gone = delete(sealed_secrets).where(*which).returning(sealed_secrets.c.name)
    return (await conn.execute(gone)).first() is not None
