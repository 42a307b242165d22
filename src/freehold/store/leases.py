"""Who may write a session: a lease says when to try, the epoch says who may.

Whoever takes a session over raises its epoch. Every write of an owner names its own epoch, so one that was thought dead
and comes back finds no row to write (it is *fenced*). A wrong clock costs work, never correctness. On PostgreSQL leases
run by the database's clock, on SQLite by the one that is handed in as `now_us`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    bindparam,
    func,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from freehold.store.tables import sessions

LEASE_S = 30.0
"""How long an owner may be silent. It should renew every third of this; each fenced write renews too."""
RUNNABLE = ("running", "rescheduling")
"""The statuses in which somebody has to do something."""


class Fenced(Exception):
    """Another process owns this session now, or it was deleted: stop every task of it and write nothing more."""

    def __init__(self, session_id: str, epoch: int) -> None:
        super().__init__(f"{session_id} is no longer owned under epoch {epoch}")
        self.session_id = session_id
        self.epoch = epoch


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one session, until somebody raises the epoch. `status` and `last_seq` are as found."""

    session_id: str
    workspace_id: str
    owner: str
    epoch: int
    status: str
    last_seq: int


async def acquire(
    conn: AsyncConnection,
    owner: str,
    *,
    now_us: int,
    session_id: str | None = None,
    lease_s: float = LEASE_S,
    site: str | None = None,
) -> Lease | None:
    """Take a session that needs an owner, or `None` if there is none: that one, or else the one that waits longest.

    It needs one when it is running or rescheduling, its `wake_at_us` has come, and nobody's lease runs. Two processes
    never get the same epoch of the same session. Without `session_id`, rows that another process is just taking are
    passed over (PostgreSQL: SKIP LOCKED). `site`: only one whose files are there, or that has none; `None`: any.
    """
    wanted = _runnable(conn, now_us, site).limit(1)
    if session_id is not None:
        wanted = wanted.where(sessions.c.id == session_id)
    taken = (
        update(sessions)
        .where(sessions.c.id == wanted.with_for_update(skip_locked=session_id is None).scalar_subquery())
        .values(owner=owner, epoch=sessions.c.epoch + 1, lease_until_us=_lease_end(conn, now_us, lease_s))
        .returning(sessions.c.id, sessions.c.workspace_id, sessions.c.epoch, sessions.c.status, sessions.c.last_seq)
    )
    row = (await conn.execute(taken)).one_or_none()
    return Lease(row.id, row.workspace_id, owner, row.epoch, row.status, row.last_seq) if row else None


async def acquire_some(
    conn: AsyncConnection, owner: str, most: int, *, now_us: int, lease_s: float = LEASE_S, site: str | None = None
) -> list[Lease]:
    """Take up to `most` sessions that need an owner, those that wait longest, in one statement; see `acquire`."""
    bound: dict[str, object] = {"taker": owner, "most": most, "now": now_us, "lease": round(lease_s * 1_000_000)}
    placed = site is not None
    rows = await conn.execute(_taking(conn.dialect.name, placed), bound | ({"site": site} if placed else {}))
    return [Lease(row.id, row.workspace_id, owner, row.epoch, row.status, row.last_seq) for row in rows]


async def renew(
    conn: AsyncConnection, held: Mapping[str, int], *, now_us: int, lease_s: float = LEASE_S
) -> frozenset[str]:
    """Renew the leases of these sessions (id to epoch) in one statement; gives the ids that are *lost*."""
    lost: set[str] = set(held)
    pairs = sorted(held.items())
    for start in range(0, len(pairs), 1000):
        mine = tuple_(sessions.c.id, sessions.c.epoch).in_(pairs[start : start + 1000])
        # One that was given back meanwhile stays free: renewed, it would lie there until the lease had run out.
        locked = (
            select(sessions.c.id).where(mine, sessions.c.owner.is_not(None)).order_by(sessions.c.id).with_for_update()
        )
        renewed = (
            update(sessions)
            .where(sessions.c.id.in_(locked.scalar_subquery()))
            .values(lease_until_us=_lease_end(conn, now_us, lease_s))
            .returning(sessions.c.id)
        )
        lost.difference_update((await conn.execute(renewed)).scalars())
    return frozenset(lost)


async def release(conn: AsyncConnection, session_id: str, epoch: int) -> bool:
    """Give a session back at once, for example when the server stops; false if it was not ours any more."""
    given = (
        update(sessions)
        .where(sessions.c.id == session_id, sessions.c.epoch == epoch)
        .values(owner=None, lease_until_us=0)
        .returning(sessions.c.id)
    )
    return (await conn.execute(given)).one_or_none() is not None


async def abandon(conn: AsyncConnection, owners: Collection[str]) -> list[str]:
    """These processes are known to be dead: end their leases now. Gives the sessions that became free.

    Being wrong about it is safe: whoever takes such a session over fences the old owner.
    """
    ended = (
        update(sessions)
        .where(sessions.c.owner.in_(list(owners)))
        .values(owner=None, lease_until_us=0)
        .returning(sessions.c.id)
    )
    return list((await conn.execute(ended)).scalars())


async def runnable(conn: AsyncConnection, limit: int, *, now_us: int, site: str | None = None) -> list[str]:
    """Ids of sessions that need an owner now, longest waiting first: what a sweep looks for. `site`: see `acquire`."""
    return [str(row.id) for row in await conn.execute(_runnable(conn, now_us, site).limit(limit))]


async def stranded(
    conn: AsyncConnection, site: str, limit: int, *, now_us: int, silent_us: int
) -> list[tuple[str, str]]:
    """Sessions that have needed an owner for so long and whose files are at another place: their ids and the place."""
    since = _now(conn, now_us - silent_us) if conn.dialect.name != "postgresql" else _now(conn, now_us) - silent_us
    waiting = (
        select(sessions.c.id, sessions.c.files_at)
        .where(sessions.c.status.in_(RUNNABLE), sessions.c.lease_until_us <= since, sessions.c.updated_us <= since)
        .where(sessions.c.files_at.is_not(None), sessions.c.files_at != site)
        .order_by(sessions.c.lease_until_us, sessions.c.id)
        .limit(limit)
    )
    return [(str(row.id), str(row.files_at)) for row in await conn.execute(waiting)]


async def places(conn: AsyncConnection) -> dict[str, int]:
    """How many sessions that are not archived have their files at each place."""
    counted = (
        select(sessions.c.files_at, func.count())
        .where(sessions.c.files_at.is_not(None), sessions.c.archived_us.is_(None))
        .group_by(sessions.c.files_at)
    )
    return {str(place): int(count) for place, count in (await conn.execute(counted)).all()}


@lru_cache(maxsize=4)
def _taking(dialect: str, placed: bool) -> ReturningUpdate[Any]:
    """The rows are picked in a part of its own (`WITH`), which PostgreSQL runs once: as a subquery it could be run for
    every row, and take more than it should.
    """
    now_us = bindparam("now", type_=BigInteger())
    now = database_now(dialect, now_us)
    due = or_(sessions.c.wake_at_us.is_(None), sessions.c.wake_at_us <= now_us)
    picked = (
        select(sessions.c.id)
        .where(sessions.c.status.in_(RUNNABLE), sessions.c.lease_until_us <= now, due)
        .where(*([_reached(bindparam("site", type_=String()))] if placed else []))
        .order_by(sessions.c.lease_until_us, sessions.c.id)
        .limit(bindparam("most", type_=Integer()))
        .with_for_update(skip_locked=True)
        .cte("picked")
    )
    end = now + bindparam("lease", type_=BigInteger())
    return (
        update(sessions)
        .where(sessions.c.id.in_(select(picked.c.id)))
        .values(owner=bindparam("taker", type_=String()), epoch=sessions.c.epoch + 1, lease_until_us=end)
        .returning(sessions.c.id, sessions.c.workspace_id, sessions.c.epoch, sessions.c.status, sessions.c.last_seq)
    )


def database_now(dialect: str, now_us: ColumnElement[int]) -> ColumnElement[int]:
    """The time that leases run by, in SQL: the database's own, or on SQLite the one that is handed in."""
    if dialect == "postgresql":
        return literal_column("CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)", BigInteger())
    return now_us


def _lease_end(conn: AsyncConnection, now_us: int, lease_s: float) -> ColumnElement[int]:
    return _now(conn, now_us) + round(lease_s * 1_000_000)


def _reached(site: ColumnElement[str]) -> ColumnElement[bool]:
    """The files are there, or there are none yet."""
    return or_(sessions.c.files_at.is_(None), sessions.c.files_at == site)


def _runnable(conn: AsyncConnection, now_us: int, site: str | None = None) -> Select[tuple[str]]:
    due = or_(sessions.c.wake_at_us.is_(None), sessions.c.wake_at_us <= now_us)
    return (
        select(sessions.c.id)
        .where(sessions.c.status.in_(RUNNABLE), sessions.c.lease_until_us <= _now(conn, now_us), due)
        .where(*([] if site is None else [_reached(literal(site))]))
        .order_by(sessions.c.lease_until_us, sessions.c.id)
    )


def _now(conn: AsyncConnection, now_us: int) -> ColumnElement[int]:
    return database_now(conn.dialect.name, literal(now_us, BigInteger()))
