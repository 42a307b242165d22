"""The audit log: every request with a key that may have changed something, refused ones too.

What agents and models are told is not here: sessions keep a log of their own, and every model call is a row of `calls`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from freehold.calls import Caller
from freehold.clock import Clock
from freehold.store import audit as rows
from freehold.store.audit import AuditRow
from freehold.store.engine import Store

_SPOKEN = re.compile(r"/v1/sessions/[^/]+/events|/v1/environments/[^/]+/work(/.*)?|/v1/messages(/.*)?")
"""Paths whose posts are talk and not changes; batches are changes."""
_BATCHES = "/v1/messages/batches"
_PATH_LONGEST = 512


class AuditLog:
    """Takes requests in, and shows them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def __call__(self, caller: Caller, method: str, path: str, status: int, request_id: str) -> None:
        """One request whose answer begins; under 5 µs, never waits."""
        if _SPOKEN.fullmatch(path) and not path.startswith(_BATCHES):
            return
        row = AuditRow(
            request_id,
            self._clock.now_us(),
            caller.workspace_id,
            caller.key_id,
            caller.role,
            method,
            path[:_PATH_LONGEST],
            status,
        )
        rows.add(self._store, row)

    async def list(
        self, *, limit: int, after: tuple[int, str] | None = None, key_id: str | None = None
    ) -> Sequence[AuditRow]:
        """Newest first, from behind (`at_us`, `id`) on: `limit`, and one more if more follow."""
        await self._store.flush()
        async with self._store.read() as conn:
            return await rows.listed(conn, limit=limit, after=after, key_id=key_id)
