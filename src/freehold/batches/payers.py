"""Who pays for a batch: whether a hard budget holds for its calls, and a budget of its own.

A hard budget is kept by reserving for each call before it is made. A batch that is handed to an upstream cannot be
stopped call by call, so a limited one is worked on here.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from freehold.calls import Caller
from freehold.errors import InvalidRequest
from freehold.ledger.definitions import Who
from freehold.ledger.ledger import Ledger
from freehold.ledger.manage import Budgets, Wanted

_NANODOLLARS = 1_000_000_000
_MOST_USD = 1_000_000
_ANY = "any"
"""Stands for a user or a batch that a budget for each one of them would hold for."""


class Payers:
    """Of one server."""

    def __init__(self, ledger: Ledger, budgets: Budgets) -> None:
        self._ledger = ledger
        self._budgets = budgets

    async def limited(self, caller: Caller, user_id: str | None) -> bool:
        """Whether some hard budget holds for calls of this caller's batches."""
        definitions = self._ledger.definitions
        if caller.key_id not in definitions.known_keys:
            await definitions.learn_key(caller.key_id)
        if not definitions.by_id:
            return False
        who = Who(caller.workspace_id, caller.key_id, user_id or _ANY, None, _ANY)
        return any(budget.enforcement == "hard" for budget in definitions.apply(who))

    async def cap(self, workspace_id: str, batch_id: str, nanodollars: int) -> str:
        """Give a batch a budget of its own; gives its id."""
        wanted = Wanted("batch", "nanodollars", nanodollars, workspace_id=workspace_id, scope_id=batch_id)
        return (await self._budgets.put(wanted)).id

    async def uncap(self, workspace_id: str, budget_id: str) -> None:
        """The batch could not be made after all."""
        await self._budgets.archive(budget_id, workspace_id)


def cap_of(text: str | None) -> int | None:
    """Nanodollars of an `x-freehold-max-cost-usd`; `None`: there is none. Raises `InvalidRequest`."""
    if text is None:
        return None
    try:
        dollars = Decimal(text)
    except InvalidOperation:
        dollars = Decimal(-1)
    if not dollars.is_finite() or not 0 <= dollars <= _MOST_USD:
        raise InvalidRequest("x-freehold-max-cost-usd: must be a number of dollars, from 0 to 1,000,000.")
    return int(dollars * _NANODOLLARS)
