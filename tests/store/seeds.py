"""Rows that others refer to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sqlalchemy import insert, select

from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.session_log import NewEvent
from freehold.store.tables import agents, environments, events, sessions, workspaces

NOW_US = 4_000_000_000_000_000
"""In 2096: later than any machine's clock that runs these tests."""


async def eventually(condition: Callable[[], bool], *, within_s: float = 60.0) -> None:
    """Return when it holds; fail if it does not within that time."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 (what it looks at has no event to wait for)
            await asyncio.sleep(0.005)


async def add_session(store: Store, session_id: str = "sesn_1", *, status: str = "running") -> str:
    """A session with everything that it needs; the agent and the rest are shared by all of one database."""

    async def op(conn: Connection) -> None:
        if (await conn.execute(select(workspaces.c.id))).first() is None:
            await conn.execute(insert(workspaces), {"id": "wrkspc_1", "name": "one", "created_us": 1})
            common = {"workspace_id": "wrkspc_1", "created_us": 1, "updated_us": 1}
            await conn.execute(insert(agents), {"id": "agent_1", "version": 1, **common})
            await conn.execute(insert(environments), {"id": "env_1", "body": "{}", **common})
        row = {"id": session_id, "workspace_id": "wrkspc_1", "key_id": "apikey_1", "agent_id": "agent_1"}
        row |= {"environment_id": "env_1", "agent": "{}", "environment_config": "{}", "metadata": "{}", "usage": "{}"}
        numbers = {"agent_version": 1, "created_us": 1, "updated_us": 1}
        await conn.execute(insert(sessions), {**row, **numbers, "thread_id": f"sthr_{session_id}", "status": status})

    await store.write(op)
    return session_id


def message(event_id: str, text: str = "hello") -> NewEvent:
    """A client's message."""
    return NewEvent(event_id, "user.message", f'{{"id":"{event_id}","type":"user.message","text":"{text}"}}')


async def seqs(store: Store, session_id: str = "sesn_1") -> list[int]:
    """The numbers in the session's log, in order."""
    async with store.read() as conn:
        found = select(events.c.seq).where(events.c.session_id == session_id).order_by(events.c.seq)
        return list((await conn.execute(found)).scalars().all())
