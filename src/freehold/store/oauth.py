"""Rows of MCP clients that registered themselves, and of what users granted them. Only hashes of tokens are here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from sqlalchemy import and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.tables import oauth_clients, oauth_grants


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A client. `redirect_uris` is a JSON list; `used_us` is 0 until somebody has granted it something."""

    id: str
    name: str
    redirect_uris: str
    created_us: int
    used_us: int = 0


@dataclass(frozen=True, slots=True)
class GrantRow:
    """What a key's holder granted a client: one toolbox. Hashes are SHA-256 in hex; empty where there is none now."""

    id: str
    workspace_id: str
    key_id: str
    client_id: str
    toolbox: str
    redirect_uri: str
    challenge: str
    code_hash: str
    code_until_us: int
    created_us: int
    until_us: int
    access_hash: str = ""
    access_until_us: int = 0
    refresh_hash: str = ""
    last_refresh_hash: str = ""


_CLIENT = [oauth_clients.c[field.name] for field in fields(ClientRow)]
_GRANT = [oauth_grants.c[field.name] for field in fields(GrantRow)]

_FORGOTTEN_AT_ONCE = 100
"""Grants that are over, with each new one."""


async def add_client(
    connection: AsyncConnection, row: ClientRow, *, most: int, unused_before_us: Sequence[int], used_before_us: int
) -> bool:
    """Keep a client, after those that are over were forgotten; false if there are `most` already.

    `unused_before_us`: those older that nobody used are forgotten; by the second time, only where it is crowded. Where
    that is not enough, the oldest that nobody used makes room: nobody can keep others out by registering.
    """
    over = or_(
        and_(oauth_clients.c.used_us == 0, oauth_clients.c.created_us < unused_before_us[0]),
        and_(oauth_clients.c.used_us > 0, oauth_clients.c.used_us < used_before_us),
    )
    await connection.execute(delete(oauth_clients).where(over))
    counted = select(func.count()).select_from(oauth_clients)
    if (await connection.execute(counted)).scalar_one() >= most:
        crowding = and_(oauth_clients.c.used_us == 0, oauth_clients.c.created_us < unused_before_us[1])
        await connection.execute(delete(oauth_clients).where(crowding))
        if (await connection.execute(counted)).scalar_one() >= most:
            unused = select(oauth_clients.c.id).where(oauth_clients.c.used_us == 0)
            oldest = unused.order_by(oauth_clients.c.created_us, oauth_clients.c.id).limit(1).scalar_subquery()
            gone = await connection.execute(delete(oauth_clients).where(oauth_clients.c.id == oldest))
            if gone.rowcount == 0:
                return False
    await connection.execute(insert(oauth_clients).values(**asdict(row)))
    return True


async def client(connection: AsyncConnection, client_id: str) -> ClientRow | None:
    """A client by its id."""
    found = (await connection.execute(select(*_CLIENT).where(oauth_clients.c.id == client_id))).first()
    return None if found is None else ClientRow(*found)


async def add_grant(connection: AsyncConnection, row: GrantRow, now_us: int) -> None:
    """Keep a grant; forget some that are over, more than come."""
    over = select(oauth_grants.c.id).where(oauth_grants.c.until_us < now_us).limit(_FORGOTTEN_AT_ONCE)
    await connection.execute(delete(oauth_grants).where(oauth_grants.c.id.in_(over.scalar_subquery())))
    await connection.execute(insert(oauth_grants).values(**asdict(row)))
    used = update(oauth_clients).where(oauth_clients.c.id == row.client_id)
    await connection.execute(used.values(used_us=now_us))


async def by_code(connection: AsyncConnection, digest: str) -> GrantRow | None:
    """The grant whose code has this hash, used up or not."""
    return await _one(connection, "code_hash", digest)


async def by_access(connection: AsyncConnection, digest: str) -> GrantRow | None:
    """The grant whose access token has this hash."""
    return await _one(connection, "access_hash", digest)


async def by_refresh(connection: AsyncConnection, digest: str) -> GrantRow | None:
    """The grant whose refresh token has this hash, or had it before the last rotation."""
    return await _one(connection, "refresh_hash", digest) or await _one(connection, "last_refresh_hash", digest)


async def renew(connection: AsyncConnection, grant: GrantRow, fresh: GrantRow) -> bool:
    """Put `fresh` in the place of `grant`; false if somebody else was quicker."""
    same = [oauth_grants.c[name] == getattr(grant, name) for name in ("id", "refresh_hash", "access_hash")]
    renewed = update(oauth_grants).where(*same).values(**asdict(fresh)).returning(oauth_grants.c.id)
    return (await connection.execute(renewed)).first() is not None


async def end(connection: AsyncConnection, grant_id: str) -> None:
    """Forget a grant: every token of it is worth nothing."""
    await connection.execute(delete(oauth_grants).where(oauth_grants.c.id == grant_id))


async def of_workspace(connection: AsyncConnection, workspace_id: str) -> list[GrantRow]:
    """The grants of a workspace, newest first."""
    mine = select(*_GRANT).where(oauth_grants.c.workspace_id == workspace_id)
    newest = mine.order_by(oauth_grants.c.created_us.desc(), oauth_grants.c.id.desc()).limit(1000)
    return [GrantRow(*row) for row in await connection.execute(newest)]


async def _one(connection: AsyncConnection, column: str, digest: str) -> GrantRow | None:
    found = (await connection.execute(select(*_GRANT).where(oauth_grants.c[column] == digest))).first()
    return None if found is None else GrantRow(*found)
