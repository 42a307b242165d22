"""Which budgets there are, in memory, and which of them apply to a call. Followed as keys are: within a second."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from freehold.ledger.periods import FOREVER, span
from freehold.store import budgets as rows
from freehold.store.base import Connection
from freehold.store.budgets import BudgetRow
from freehold.store.engine import Store
from freehold.store.ledger import NewAccount

WAKE = "budgets"
ORGANIZATION = "organization"
_MOST_KEYS = 100_000
EACH = frozenset({"key", "user", "session", "batch"})
"""Scopes of which a workspace has many; a budget without an id is for each of them."""


class Who(NamedTuple):
    """Who pays for a call."""

    workspace_id: str
    key_id: str
    user_id: str | None = None
    session_id: str | None = None
    batch_id: str | None = None

    def id_of(self, scope: str) -> str | None:
        """The id of this call's key, user … ; `None`: it has none."""
        match scope:
            case "organization":
                return ORGANIZATION
            case "workspace":
                return self.workspace_id
            case "key":
                return self.key_id
            case "user":
                return self.user_id
            case "session":
                return self.session_id
        return self.batch_id


class Definitions:
    """All budgets that are in force."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._refreshing = asyncio.Lock()
        self._seen: rows.Fingerprint | None = None
        self._known: dict[tuple[str | None, str, str | None], list[BudgetRow]] = {}
        self.known_keys: set[str] = set()
        """Keys since whose first call the budgets were read. Another one may have been made a moment ago, in another
        process, with a budget of its own: `learn_key` before its first call.
        """
        self.by_id: dict[str, BudgetRow] = {}
        self.version = 0
        """Rises with every change."""

    async def refresh(self) -> bool:
        """Read the budgets if anything about them has changed; true if so."""
        async with self._refreshing:  # who has read earlier must not come later with it
            return await self._refresh()

    async def _refresh(self) -> bool:
        seen, standing = await self._store.look(self._read)
        if standing is None:
            return False
        known: dict[tuple[str | None, str, str | None], list[BudgetRow]] = {}
        for row in standing:
            known.setdefault((row.workspace_id, row.scope, row.scope_id), []).append(row)
        self._known, self._seen = known, seen
        self.by_id = {row.id: row for row in standing}
        self.version += 1
        return True

    async def _read(self, conn: Connection) -> tuple[rows.Fingerprint, list[BudgetRow] | None]:
        """The budgets, unless they are those that are known."""
        seen = await rows.fingerprint(conn)
        return seen, None if seen == self._seen else await rows.standing(conn)

    async def learn_key(self, key_id: str) -> None:
        """Read the budgets, then count the key among those known; once for all that wait for it."""
        async with self._refreshing:
            if key_id in self.known_keys:
                return
            await self._refresh()
            if len(self.known_keys) > _MOST_KEYS:
                self.known_keys.clear()
            self.known_keys.add(key_id)

    def apply(self, who: Who) -> list[BudgetRow]:
        """The budgets that a call of `who` counts against."""
        found = [*self._known.get((None, "organization", None), ())]
        found += self._known.get((who.workspace_id, "workspace", None), ())
        for scope in sorted(EACH):
            own = who.id_of(scope)
            if own is not None:
                found += self._of(who.workspace_id, scope, own)
        return found

    def _of(self, workspace_id: str, scope: str, own: str) -> list[BudgetRow]:
        """Those made for this very one, and those for each one that are not replaced by them."""
        special = self._known.get((workspace_id, scope, own), [])
        replaced = {(row.unit, row.period, row.enforcement) for row in special}
        general = self._known.get((workspace_id, scope, None), ())
        return [*special, *(row for row in general if (row.unit, row.period, row.enforcement) not in replaced)]


def account_of(row: BudgetRow, who: Who, now_us: int) -> NewAccount:
    """The account that a call at that time counts at."""
    start_us, until_us = span(row.period, row.timezone, now_us)
    scope_id = who.id_of(row.scope) or ""
    return NewAccount(
        id=f"{row.id}/{start_us}/{scope_id}",
        budget_id=row.id,
        scope_id=scope_id,
        started_us=start_us,
        until_us=None if until_us == FOREVER else until_us,
        hard=row.enforcement == "hard",
    )
