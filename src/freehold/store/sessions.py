"""Rows of sessions and their resources. Their log is `session_log`; this file knows no event, no model and no HTTP."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, Select, String, bindparam, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import NotFound
from freehold.store.engine import Store
from freehold.store.forgetting import forget
from freehold.store.keyset import page as page_of
from freehold.store.tables import events, session_resources, sessions, tool_calls

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session, without its log."""

    id: str
    workspace_id: str
    key_id: str
    agent_id: str
    agent_version: int
    environment_id: str
    agent: Json
    """The agent's definition as it was, or was overridden, at creation, and as updates of the session changed it."""
    environment_config: Json
    title: str | None
    metadata: dict[str, str]
    thread_id: str
    usage: Json
    """Running totals, as the loop last wrote them; `{}` before the first turn."""
    cap_cents: int | None
    """The most that it may cost at list prices; `None`: no such limit."""
    status: str
    epoch: int
    last_seq: int
    created_us: int
    updated_us: int
    archived_us: int | None
    files_at: str | None = None
    """Which place holds its files (`environments.site`); `None`: it has none yet."""


@dataclass(frozen=True, slots=True)
class ResourceRow:
    """One resource of a session. `body` holds what its type needs (`file_id`, `mount_path`)."""

    id: str
    type: str
    body: Json
    created_us: int
    updated_us: int


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions a list holds; `None` and empty do not filter."""

    agent_id: str | None = None
    agent_version: int | None = None
    memory_store_id: str | None = None
    statuses: Collection[str] = ()
    include_archived: bool = False
    created_gt_us: int | None = None
    created_gte_us: int | None = None
    created_lt_us: int | None = None
    created_lte_us: int | None = None


_COLUMNS = [
    getattr(sessions.c, name)
    for name in SessionRow.__slots__  # the row and the dataclass have one order
]
_JSON = frozenset({"agent", "environment_config", "metadata", "usage"})
# Made once: building a statement costs several times what running it does.
_BY_ID = select(*_COLUMNS).where(sessions.c.id == bindparam("session", type_=String()))
_ITS_OWN = _BY_ID.where(sessions.c.workspace_id == bindparam("workspace", type_=String()))
_ITS_OWN_LOCKED = _ITS_OWN.with_for_update()
_RESOURCES = (
    select(session_resources)
    .where(session_resources.c.session_id.in_(bindparam("sessions", type_=String(), expanding=True)))
    .order_by(session_resources.c.created_us, session_resources.c.id)
)


class SessionRows:
    """Sessions of all workspaces; every call names the one that it may see."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, workspace_id: str, session_id: str) -> SessionRow:
        """Raises `NotFound`."""
        return await self._store.look(lambda connection: read_session(connection, workspace_id, session_id))

    async def page(
        self, workspace_id: str, wanted: SessionFilter, *, after: Sequence[Any] | None, limit: int, descending: bool
    ) -> list[SessionRow]:
        """By time of making; one row more than `limit` if there are more."""
        query = _filtered(select(*_COLUMNS).where(sessions.c.workspace_id == workspace_id), wanted)
        keys = (sessions.c.created_us, sessions.c.id)
        async with self._store.read() as connection:
            found = await connection.execute(page_of(query, keys, after=after, limit=limit, descending=descending))
            return [_session(row) for row in found]

    async def resources(self, session_ids: Collection[str]) -> dict[str, list[ResourceRow]]:
        """The resources of several sessions, oldest first."""
        found: dict[str, list[ResourceRow]] = {session_id: [] for session_id in session_ids}
        for row in await self._store.look(lambda connection: _resources_of(connection, session_ids)):
            found[row.session_id].append(_resource(row))
        return found


async def _resources_of(connection: AsyncConnection, session_ids: Collection[str]) -> Sequence[Row[Any]]:
    return (await connection.execute(_RESOURCES, {"sessions": list(session_ids)})).all()


async def read_session(
    connection: AsyncConnection, workspace_id: str, session_id: str, *, lock: bool = False
) -> SessionRow:
    """`SessionRows.get` within a transaction of one's own, locking the row against others if told to."""
    which = {"workspace": workspace_id, "session": session_id}
    found = (await connection.execute(_ITS_OWN_LOCKED if lock else _ITS_OWN, which)).first()
    if found is None:
        raise NotFound(f"There is no session {session_id!r}.")
    return _session(found)


async def find_session(connection: AsyncConnection, session_id: str) -> SessionRow | None:
    """A session by its id alone, for whoever runs it."""
    found = (await connection.execute(_BY_ID, {"session": session_id})).first()
    return None if found is None else _session(found)


async def insert_session(connection: AsyncConnection, row: SessionRow) -> None:
    """A new session."""
    values = {name: getattr(row, name) for name in SessionRow.__slots__}
    await connection.execute(insert(sessions).values(**{k: _stored(k, v) for k, v in values.items()}))


async def update_session(connection: AsyncConnection, session_id: str, changes: Mapping[str, Any]) -> None:
    """Change columns of a session whose row is locked."""
    stored = {name: _stored(name, value) for name, value in changes.items()}
    await connection.execute(update(sessions).where(sessions.c.id == session_id).values(**stored))


async def delete_session(connection: AsyncConnection, session_id: str) -> None:
    """Delete it with its log, queue, journal and resources."""
    await connection.execute(delete(sessions).where(sessions.c.id == session_id))


async def forget_log(store: Store, session_id: str) -> None:
    """Delete the log of a session that nobody works on any more, a slice at a time."""
    await forget(store, events.c.id, events.c.session_id == session_id)
    await forget(store, tool_calls.c.event_id, tool_calls.c.session_id == session_id)


async def insert_resource(connection: AsyncConnection, session_id: str, row: ResourceRow) -> None:
    """A new resource of a session."""
    values = {"id": row.id, "type": row.type, "body": _encoded(row.body)}
    times = {"created_us": row.created_us, "updated_us": row.updated_us}
    await connection.execute(insert(session_resources).values(session_id=session_id, **values, **times))


async def read_resource(connection: AsyncConnection, session_id: str, resource_id: str) -> ResourceRow:
    """Raises `NotFound`."""
    mine = (session_resources.c.session_id == session_id, session_resources.c.id == resource_id)
    found = (await connection.execute(select(session_resources).where(*mine))).first()
    if found is None:
        raise NotFound(f"The session {session_id} has no resource {resource_id!r}.")
    return _resource(found)


async def update_resource(connection: AsyncConnection, session_id: str, row: ResourceRow) -> None:
    """Its body and time of change, as they are now."""
    mine = (session_resources.c.session_id == session_id, session_resources.c.id == row.id)
    changed = {"body": _encoded(row.body), "updated_us": row.updated_us}
    await connection.execute(update(session_resources).where(*mine).values(**changed))


async def delete_resource(connection: AsyncConnection, session_id: str, resource_id: str) -> None:
    """Delete a resource that is there."""
    mine = (session_resources.c.session_id == session_id, session_resources.c.id == resource_id)
    await connection.execute(delete(session_resources).where(*mine))


async def read_resources(connection: AsyncConnection, session_id: str) -> list[ResourceRow]:
    """All of a session, oldest first."""
    query = select(session_resources).where(session_resources.c.session_id == session_id)
    ordered = query.order_by(session_resources.c.created_us, session_resources.c.id)
    return [_resource(row) for row in await connection.execute(ordered)]


def _has_memory_store(store_id: str) -> ColumnElement[bool]:
    mentioned = session_resources.c.body.contains(f'"memory_store_id":{_encoded(store_id)}', autoescape=True)
    mine = session_resources.c.session_id == sessions.c.id
    return exists().where(mine, session_resources.c.type == "memory_store", mentioned)


def _filtered(query: Select[Any], wanted: SessionFilter) -> Select[Any]:
    conditions = [
        (wanted.agent_id, sessions.c.agent_id == wanted.agent_id),
        (wanted.agent_version, sessions.c.agent_version == wanted.agent_version),
        (wanted.memory_store_id, _has_memory_store(wanted.memory_store_id or "")),
        (wanted.statuses or None, sessions.c.status.in_(wanted.statuses)),
        (wanted.created_gt_us, sessions.c.created_us > (wanted.created_gt_us or 0)),
        (wanted.created_gte_us, sessions.c.created_us >= (wanted.created_gte_us or 0)),
        (wanted.created_lt_us, sessions.c.created_us < (wanted.created_lt_us or 0)),
        (wanted.created_lte_us, sessions.c.created_us <= (wanted.created_lte_us or 0)),
    ]
    query = query.where(*(condition for value, condition in conditions if value is not None))
    return query if wanted.include_archived else query.where(sessions.c.archived_us.is_(None))


def _stored(name: str, value: Any) -> Any:
    return _encoded(value) if name in _JSON else value


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _session(row: Row[Any]) -> SessionRow:
    values = row._mapping
    return SessionRow(
        **{name: msgspec.json.decode(values[name]) if name in _JSON else values[name] for name in SessionRow.__slots__}
    )


def _resource(row: Row[Any]) -> ResourceRow:
    return ResourceRow(row.id, row.type, msgspec.json.decode(row.body), row.created_us, row.updated_us)
