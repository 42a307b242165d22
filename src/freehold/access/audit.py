"""The audit log: every request with a key that may have changed something, refused ones too.

What agents and models are told is not here: sessions keep a log of their own, and every model call is a row of `calls`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from freehold.calls import Caller
from freehold.clock import Clock
from freehold.config import setting
from freehold.store import audit as rows
from freehold.store.audit import AuditRow
from freehold.store.engine import Store

_SPOKEN = re.compile(
    r"/v1/sessions/[^/]+/events|/v1/environments/[^/]+/work(/.*)?|/v1/messages(/.*)?|/freehold/v1/knowledge/search"
)
"""Paths whose posts are talk, or look for something, and are no changes; batches are changes."""
_BATCHES = "/v1/messages/batches"
_PATH_LONGEST = 512
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """How long it is remembered who changed what."""

    audit_kept_days: int = setting(365, "How long the log of changes is kept; 0: for ever.", least=0, unit="days")


class AuditLog:
    """Takes requests in, shows them, and forgets them after their time."""

    def __init__(self, store: Store, clock: Clock, settings: AuditSettings) -> None:
        self._store = store
        self._kept_us = settings.audit_kept_days * _DAY_US
        self._clock = clock

    def __call__(self, caller: Caller, method: str, path: str, status: int, request_id: str) -> None:
        """One request whose answer begins; never waits."""
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

    async def tidy(self) -> None:
        """Forget what is older than is wished, in small steps."""
        if self._kept_us:
            await rows.forget_before(self._store, self._clock.now_us() - self._kept_us)
