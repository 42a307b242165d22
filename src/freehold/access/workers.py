"""What the workers of a self-hosted environment may do: its work, and for each item they hold, that item's session.

Two credentials let a worker in. The *environment key* asks for work and says what became of it; while a worker holds an
item, the key also opens the item's session. The *token* of an item opens that item and its session alone; it is void as
soon as the item is stopped or handed to somebody else. Neither opens anything that is not named here: a route that does
not say which right it asks for never gets to see them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from freehold.access.keys import ENVIRONMENT_PREFIX, TOKEN_PREFIX, Keys, Worker, sent_key
from freehold.calls import Headers
from freehold.errors import NotFound, PermissionDenied, Unauthenticated
from freehold.store import work
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.sessions import SessionRow, find_session, read_resources
from freehold.store.work import WorkRow

Right = Literal["queue", "item", "session", "skill", "memory"]
"""The queue of an environment; one item; a session that is worked on; a skill or a memory store of such a session."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request is about: its method and the ids in its path."""

    method: str
    path: Mapping[str, str]


class Workers:
    """Lets workers in. `holds`: whether whoever was handed an item last may still act for its session."""

    def __init__(self, store: Store, keys: Keys, holds: Callable[[WorkRow], bool]) -> None:
        self._store = store
        self._keys = keys
        self._holds = holds

    async def admit(self, headers: Headers, right: Right, asked: Asked) -> Worker | None:
        """The worker that sends these headers; `None`: it is no worker's key that was sent.

        Raises:
            Unauthenticated: the key or token is not valid.
            PermissionDenied: it is, and does not open this.
            NotFound: what is asked for is not of this worker.
        """
        sent = sent_key(headers)
        if sent is None or not sent.startswith((ENVIRONMENT_PREFIX.encode(), TOKEN_PREFIX.encode())):
            return None
        if sent.startswith(TOKEN_PREFIX.encode()):
            return await self._store.look(lambda connection: self._with_token(connection, sent, right, asked))
        worker = self._keys.worker(sent)
        if worker is None:
            raise Unauthenticated("The environment key is not valid: it is mistyped, revoked, or of another server.")
        await self._store.look(lambda connection: self._with_key(connection, worker, right, asked))
        return worker

    async def _with_key(self, connection: Connection, worker: Worker, right: Right, asked: Asked) -> None:
        if right in ("queue", "item"):
            _require(asked.path["environment_id"] == worker.environment_id, asked)
        elif right == "memory":
            raise PermissionDenied("Memory stores take the token of a work item, not the key of the environment.")
        elif right == "session":
            item = await work.living(connection, asked.path["session_id"])
            _require(item is not None and item.environment_id == worker.environment_id and self._holds(item), asked)
        else:
            items = [item for item in await work.handed(connection, worker.environment_id) if self._holds(item)]
            found = [await find_session(connection, item.session_id) for item in items]
            _require(any(_has_skill(row, asked.path["skill_id"]) for row in found), asked)

    async def _with_token(self, connection: Connection, sent: bytes, right: Right, asked: Asked) -> Worker:
        held = await work.held(connection, hashlib.sha256(sent[:512]).hexdigest())
        if held is None:
            raise Unauthenticated("The token of this work item is not valid (any more).")
        item = held.item
        worker = Worker(
            item.workspace_id, item.id, "worker", item.environment_id, item.session_id, item.id, not held.current
        )
        if right == "queue":
            raise PermissionDenied("The queue takes the key of the environment, not the token of a work item.")
        if right == "item":
            path = (asked.path["environment_id"], asked.path["work_id"])
            _require(path == (item.environment_id, item.id), asked)
            return worker
        if not held.current or not self._holds(item):
            raise PermissionDenied(f"{item.id} is stopped, or was handed to another worker: its token opens nothing.")
        if right == "session":
            _require(asked.path["session_id"] == item.session_id, asked)
        elif right == "skill":
            _require(_has_skill(await find_session(connection, item.session_id), asked.path["skill_id"]), asked)
        else:
            await _memory(connection, item.session_id, asked)
        return worker


async def _memory(connection: Connection, session_id: str, asked: Asked) -> None:
    bodies: Collection[Mapping[str, Any]] = [
        resource.body for resource in await read_resources(connection, session_id) if resource.type == "memory_store"
    ]
    mine = [body for body in bodies if body["memory_store_id"] == asked.path["memory_store_id"]]
    _require(bool(mine), asked)
    if asked.method != "GET" and mine[0]["access"] == "read_only":
        raise PermissionDenied(f"{mine[0]['memory_store_id']} is attached to this session for reading only.")


def _has_skill(row: SessionRow | None, skill_id: str) -> bool:
    return row is not None and any(skill["skill_id"] == skill_id for skill in row.agent.get("skills") or ())


def _require(mine: bool, asked: Asked) -> None:
    if not mine:
        last = list(asked.path.values())[-1]
        raise NotFound(f"Nothing that you work on has the id {last[:80]!r}.")
