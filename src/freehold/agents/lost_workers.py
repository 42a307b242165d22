"""Says in a session's log that its worker has fallen silent: calls that it had may run again, but not unseen."""

from __future__ import annotations

from freehold.agents.events import Voice
from freehold.agents.log import new_event
from freehold.ids import NewId
from freehold.store import session_log, work
from freehold.store.base import Connection
from freehold.store.sessions import find_session


class LostWorkers:
    """For the sessions of self-hosted environments; see `jobs.work_queue.Lost`."""

    def __init__(self, ids: NewId) -> None:
        self._ids = ids

    async def __call__(self, connection: Connection, session_id: str, now_us: int) -> None:
        """Write it, where such calls are open. The session's row is locked."""
        row = await find_session(connection, session_id)
        calls = await work.waiting_calls(connection, session_id)
        if row is None or not calls:
            return
        text = (
            f"The worker of this session has fallen silent, so another one takes it. What it had begun of "
            f"{', '.join(calls)} may have taken effect, and may run again."
        )
        said = Voice(self._ids, row.thread_id, row.agent["name"]).error("unknown_error", text, "retrying")
        await session_log.append(connection, session_id, [new_event(said, now_us)], now_us=now_us)
