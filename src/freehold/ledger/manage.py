"""Budgets made, changed and shown. What one says stands in `store/budgets.py`; what is spent of it, in the accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from freehold.clock import Clock, rfc3339
from freehold.errors import BillingRefused, InvalidRequest, NotFound
from freehold.ids import NewId
from freehold.ledger import definitions
from freehold.ledger.bank import Refusal
from freehold.ledger.definitions import EACH, Definitions
from freehold.ledger.ledger import Ledger
from freehold.ledger.periods import FOREVER, span, zone
from freehold.money import show_dollars
from freehold.store import budgets as rows
from freehold.store import keys, workspaces
from freehold.store import ledger as accounts
from freehold.store.base import Connection
from freehold.store.budgets import BudgetRow
from freehold.store.engine import Store
from freehold.store.ledger import AccountRow, LostCall

SCOPES = ("organization", "workspace", "key", "user", "session", "batch")
UNITS = ("nanodollars", "tokens")
PERIODS = ("day", "month", "lifetime")
ENFORCEMENTS = ("hard", "soft")
MOST = 1 << 53
"""Of a limit: nine million dollars, or as many tokens as any JSON reader can tell apart."""
MOST_SCOPE_ID_CHARS = 256


@dataclass(frozen=True, slots=True)
class Wanted:
    """A budget as it is asked for."""

    scope: str
    unit: str
    amount: int
    workspace_id: str | None = None
    scope_id: str | None = None
    period: str = "lifetime"
    timezone: str = "UTC"
    enforcement: str = "hard"


@dataclass(frozen=True, slots=True)
class Shown:
    """A budget with its accounts of the running period."""

    budget: BudgetRow
    accounts: Sequence[AccountRow]
    resets_us: int | None


class Budgets:
    """Every budget of the server."""

    def __init__(self, store: Store, ledger: Ledger, *, clock: Clock, ids: NewId) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._ids = ids

    async def put(self, wanted: Wanted) -> BudgetRow:
        """Make a budget, or change the limit of the one in force for the same scope, unit, period and enforcement.

        It holds here when this returns, and in every other process within a second.

        Raises:
            InvalidRequest: it is not one. NotFound: its workspace or key is not there.
        """
        _check(wanted)
        now_us = self._clock.now_us()
        row = _row(wanted, self._ids("bdgt"), now_us)

        async def op(conn: Connection) -> BudgetRow:
            await accounts.take_turn(conn)
            await _check_owner(conn, wanted)
            before = await rows.same(conn, row)
            if before is None:
                return await rows.create(conn, row)
            await _change(conn, before, row, now_us)
            return await rows.get(conn, before.id) or row

        made = await self._store.write(op, wake=[definitions.WAKE, "escrow"])
        await self._ledger.refresh()
        await self._ledger.give_back()  # what was drawn under another limit
        return made

    async def archive(self, budget_id: str, workspace_id: str | None) -> BudgetRow:
        """End a budget: it limits nothing any more. `workspace_id`: only one of this workspace. Raises `NotFound`."""
        now_us = self._clock.now_us()

        async def op(conn: Connection) -> BudgetRow:
            await accounts.take_turn(conn)
            found = await _own(conn, budget_id, workspace_id)
            await rows.change(conn, budget_id, archived_us=now_us, updated_us=max(now_us, found.updated_us + 1))
            return await _own(conn, budget_id, workspace_id)

        archived = await self._store.write(op, wake=[definitions.WAKE])
        await self._ledger.refresh()
        return archived

    async def get(self, budget_id: str, workspace_id: str | None) -> Shown:
        """One, with what is spent of it. Raises `NotFound`."""
        async with self._store.read() as conn:
            budget = await _own(conn, budget_id, workspace_id)
            found = await accounts.of_budgets(conn, [budget.id], self._clock.now_us())
        return self._shown(budget, found)

    async def list(
        self, *, workspace_id: str | None, organization: bool, limit: int, after: tuple[int, str] | None
    ) -> Sequence[Shown]:
        """Those in force, newest first, with what is spent of each: `limit`, and one if more follow."""
        async with self._store.read() as conn:
            found = await rows.listed(
                conn, limit=limit, after=after, workspace_id=workspace_id, organization=organization
            )
            all_accounts = await accounts.of_budgets(conn, [row.id for row in found], self._clock.now_us())
        by_budget: dict[str, list[AccountRow]] = {}
        for account in all_accounts:
            by_budget.setdefault(account.budget_id, []).append(account)
        return [self._shown(budget, by_budget.get(budget.id, [])) for budget in found]

    async def lost(self, budget_id: str, workspace_id: str | None) -> Sequence[LostCall]:
        """Calls that may have been billed, newest first, a thousand at most. Raises `NotFound`."""
        async with self._store.read() as conn:
            await _own(conn, budget_id, workspace_id)
            return await accounts.lost(conn, budget_id, limit=999)

    async def release(self, budget_id: str, request_id: str, workspace_id: str | None) -> int:
        """A lost call was not billed, as somebody has found out: what it kept is free again. Raises `NotFound`."""

        async def op(conn: Connection) -> int:
            await accounts.take_turn(conn)
            await _own(conn, budget_id, workspace_id)
            freed = await accounts.release(conn, budget_id, request_id)
            if not freed:
                raise NotFound(f"Budget {budget_id} keeps nothing for a call {request_id[:64]}.")
            return freed

        return await self._store.write(op, wake=["escrow"])

    async def give_back(self) -> None:
        """Settle what is pending here and give back what is idle, so that what is shown is what calls hold."""
        await self._ledger.give_back()

    def _shown(self, budget: BudgetRow, found: Sequence[AccountRow]) -> Shown:
        _, until_us = span(budget.period, budget.timezone, self._clock.now_us())
        return Shown(budget, found, None if until_us == FOREVER else until_us)


async def _change(conn: Connection, before: BudgetRow, row: BudgetRow, now_us: int) -> None:
    updated_us = max(now_us, before.updated_us + 1)
    if before.timezone != row.timezone:
        raise InvalidRequest(
            f"timezone: budget {before.id} counts its {before.period}s in {before.timezone}; archive it to begin anew."
        )
    await rows.change(conn, before.id, amount=row.amount, updated_us=updated_us)
    await accounts.set_limit(conn, before.id, row.amount, now_us)


async def _own(conn: Connection, budget_id: str, workspace_id: str | None) -> BudgetRow:
    row = await rows.get(conn, budget_id)
    if row is None or (workspace_id is not None and row.workspace_id != workspace_id):
        raise NotFound(f"There is no budget {budget_id[:64]}.")
    return row


def _check(wanted: Wanted) -> None:
    for name, known in (("scope", SCOPES), ("unit", UNITS), ("period", PERIODS), ("enforcement", ENFORCEMENTS)):
        if getattr(wanted, name) not in known:
            raise InvalidRequest(f"{name}: must be one of {', '.join(known)}.")
    if not 0 <= wanted.amount <= MOST:
        raise InvalidRequest(f"limit: must be from 0 to {MOST}.")
    zone(wanted.timezone)
    if wanted.scope == "organization" and wanted.workspace_id is not None:
        raise InvalidRequest("workspace_id: a budget of the organization belongs to no workspace.")
    if wanted.scope not in EACH and wanted.scope_id is not None:
        raise InvalidRequest(f"scope_id: a budget of the {wanted.scope} has none.")
    if wanted.scope_id is not None and (
        not 1 <= len(wanted.scope_id) <= MOST_SCOPE_ID_CHARS or "\0" in wanted.scope_id
    ):
        raise InvalidRequest(f"scope_id: must have 1 to {MOST_SCOPE_ID_CHARS} characters.")


async def _check_owner(conn: Connection, wanted: Wanted) -> None:
    if wanted.scope == "organization":
        return
    if wanted.workspace_id is None or await workspaces.get(conn, wanted.workspace_id) is None:
        raise NotFound(f"There is no workspace {wanted.workspace_id}.")
    if wanted.scope == "key" and wanted.scope_id is not None:
        key = await keys.get(conn, wanted.scope_id)
        if key is None or key.workspace_id != wanted.workspace_id:
            raise NotFound(f"There is no key {wanted.scope_id} in that workspace.")


def _row(wanted: Wanted, budget_id: str, now_us: int) -> BudgetRow:
    return BudgetRow(
        id=budget_id,
        workspace_id=wanted.workspace_id,
        scope=wanted.scope,  # type: ignore[arg-type]  # checked: one of SCOPES
        scope_id=wanted.scope_id,
        unit=wanted.unit,  # type: ignore[arg-type]
        period=wanted.period,  # type: ignore[arg-type]
        timezone=wanted.timezone,
        enforcement=wanted.enforcement,  # type: ignore[arg-type]
        amount=wanted.amount,
        created_us=now_us,
        updated_us=now_us,
    )


def refused(refusal: Refusal, known: Definitions) -> BillingRefused:
    """What the client is told when a call does not fit: whose budget, its limit, what is left, when it resets."""
    account = refusal.account
    budget = known.by_id.get(account.budget_id)
    unit = "nanodollars" if budget is None else budget.unit
    left = min(max(0, account.amount - account.settled), refusal.free)
    whose = account.scope_id if budget is None else _whose(budget, account)
    per = "" if budget is None or budget.period == "lifetime" else f" a {budget.period}"
    resets = "It does not reset." if account.until_us is None else f"It resets at {rfc3339(account.until_us)}."
    message = (
        f"The budget of {whose} does not allow this call: it may cost up to {amount(refusal.need, unit)}, and of "
        f"{amount(account.amount, unit)}{per} {amount(left, unit)} is left. {resets}"
    )
    details = {
        "budget_id": account.budget_id,
        "scope": None if budget is None else budget.scope,
        "scope_id": account.scope_id,
        "unit": unit,
        "limit": account.amount,
        "settled": account.settled,
        "reserved": max(0, account.amount - account.settled - left),
        "remaining": left,
        "needed": refusal.need,
        "resets_at": None if account.until_us is None else rfc3339(account.until_us),
    }
    headers = {"x-should-retry": "false", f"x-freehold-budget-remaining-{unit}": str(left)}
    return BillingRefused(message, details=details, headers=headers)


def _whose(budget: BudgetRow, account: AccountRow) -> str:
    if budget.scope == "organization":
        return "the organization"
    return f"{budget.scope} {account.scope_id}"


def amount(value: int, unit: str) -> str:
    """For people."""
    return show_dollars(value) if unit == "nanodollars" else f"{value:,} tokens"
