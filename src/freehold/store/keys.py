"""Rows of API keys: who may. Only the SHA-256 of a key is here, never the key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.keyset import page
from freehold.store.tables import api_keys

Role = Literal["admin", "member", "viewer", "worker"]
"""A worker does the work of one self-hosted environment, and nothing else."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key, as far as it is known here."""

    id: str
    workspace_id: str
    name: str
    role: Role
    sha256: str
    hint: str
    """Its last four characters, for people."""
    created_us: int
    revoked_us: int | None
    environment_id: str | None = None
    """Of a worker."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Differs after every change to the keys; reading it costs less than reading them."""

    count: int
    revoked: int
    last_created_us: int | None
    last_revoked_us: int | None


async def create(conn: AsyncConnection, key: KeyRow) -> KeyRow:
    """A new one; its workspace must exist."""
    row = {name: getattr(key, name) for name in KeyRow.__slots__}
    await conn.execute(insert(api_keys), row)
    return key


async def get(conn: AsyncConnection, key_id: str) -> KeyRow | None:
    """One by its id."""
    row = (await conn.execute(select(api_keys).where(api_keys.c.id == key_id))).one_or_none()
    return KeyRow(**row._mapping) if row else None


async def revoke(conn: AsyncConnection, key_id: str, now_us: int) -> KeyRow | None:
    """Revoke one for good, unless it was already; gives it as it is then, or `None` if there is none."""
    valid = (api_keys.c.id == key_id, api_keys.c.revoked_us.is_(None))
    await conn.execute(update(api_keys).where(*valid).values(revoked_us=now_us))
    return await get(conn, key_id)


async def valid(conn: AsyncConnection) -> list[KeyRow]:
    """Every key that opens a door."""
    return [
        KeyRow(**row._mapping) for row in await conn.execute(select(api_keys).where(api_keys.c.revoked_us.is_(None)))
    ]


async def fingerprint(conn: AsyncConnection) -> Fingerprint:
    """See `Fingerprint`."""
    columns = (
        func.count(),
        func.count(api_keys.c.revoked_us),
        func.max(api_keys.c.created_us),
        func.max(api_keys.c.revoked_us),
    )
    return Fingerprint(*(await conn.execute(select(*columns))).one())


async def listed(
    conn: AsyncConnection, *, limit: int, after: tuple[int, str] | None = None, workspace_id: str | None = None
) -> list[KeyRow]:
    """Newest first, revoked ones too, from behind (`created_us`, `id`) on: `limit`, and one more if more follow."""
    found = select(api_keys)
    if workspace_id is not None:
        found = found.where(api_keys.c.workspace_id == workspace_id)
    found = page(found, (api_keys.c.created_us, api_keys.c.id), after=after, limit=limit)
    return [KeyRow(**row._mapping) for row in await conn.execute(found)]


async def has_admin(conn: AsyncConnection) -> bool:
    """True if some valid key is an admin's."""
    found = select(api_keys.c.id).where(api_keys.c.role == "admin", api_keys.c.revoked_us.is_(None)).limit(1)
    return (await conn.execute(found)).first() is not None


async def by_sha256(conn: AsyncConnection, sha256: str) -> KeyRow | None:
    """One by its hash, revoked or not."""
    row = (await conn.execute(select(api_keys).where(api_keys.c.sha256 == sha256))).one_or_none()
    return KeyRow(**row._mapping) if row else None


async def revoke_named(conn: AsyncConnection, workspace_id: str, name: str, now_us: int) -> None:
    """Revoke every key of that name in that workspace."""
    these = (api_keys.c.workspace_id == workspace_id, api_keys.c.name == name, api_keys.c.revoked_us.is_(None))
    await conn.execute(update(api_keys).where(*these).values(revoked_us=now_us))


async def revoke_workers(conn: AsyncConnection, environment_id: str, now_us: int) -> None:
    """Revoke every key of an environment."""
    these = (api_keys.c.environment_id == environment_id, api_keys.c.revoked_us.is_(None))
    await conn.execute(update(api_keys).where(*these).values(revoked_us=now_us))
