"""What a session may cost at most: its `budget`, checked, shown, and reached or not. Pure; amounts are whole cents.

The cap is over what the session's requests have cost at list prices, by the same rates as the ledger's rows. It stops
the next request, never one that is under way (SDK `beta_managed_agents_budget_limit.py`). Budgets of keys, users and
workspaces, which reserve before they spend, are the ledger's, and hold besides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from freehold.agents.usage import Tokens
from freehold.errors import InvalidRequest
from freehold.money import NANODOLLARS_PER_CENT

MOST_CENTS = 1_000_000_000
"""Ten million dollars; more is a slip of the hand."""
REACHED: Mapping[str, str] = {"type": "budget_reached"}
Priced = Callable[[str], bool]
"""Whether a model has a list price."""


def cents(given: Mapping[str, Any]) -> int:
    """The cap that a request's `budget` asks for. Raises `InvalidRequest`."""
    amount = given["max_list_cost"]["amount"]
    if not re.fullmatch(r"[1-9][0-9]{0,18}", amount) or int(amount) > MOST_CENTS:
        raise InvalidRequest(
            f"budget.max_list_cost.amount: {amount[:40]!r} is not an amount in whole cents, from 1 to {MOST_CENTS}."
        )
    return int(amount)


def shown(cap_cents: int | None) -> dict[str, Any] | None:
    """As the API shows it; `None`: there is none."""
    if cap_cents is None:
        return None
    return {"type": "limit", "max_list_cost": {"amount": str(cap_cents), "currency": "USD"}}


def is_reached(cap_cents: int | None, used: Tokens) -> bool:
    """Whether no further request may be made; also if something was used that has no price."""
    if cap_cents is None:
        return False
    return used.cost_nanodollars is None or used.cost_nanodollars >= cap_cents * NANODOLLARS_PER_CENT


def refuse_unpriced(model: str, priced: Priced) -> None:
    """A cap cannot measure what has no price. Raises `InvalidRequest`."""
    if not priced(model):
        raise InvalidRequest(
            f"budget: no list price is known for {model[:100]!r}, so a session of it cannot have a budget.",
            details={"error_code": "model_not_budgetable"},
        )


def changed(before: int | None, new: int | None, used: Tokens, model: str, priced: Priced) -> int | None:
    """The cap after an update; `new` is `None` where it is taken away. Raises `InvalidRequest`."""
    if new is None:
        return None
    if before is None:
        raise InvalidRequest(
            "budget: this session has none, and one can only be given when a session is created.",
            details={"error_code": "budget_create_only"},
        )
    refuse_unpriced(model, priced)
    if is_reached(new, used):
        raise InvalidRequest(
            f"budget.max_list_cost.amount: {new} cents are not more than this session has cost already.",
            details={"error_code": "budget_not_raised"},
        )
    return new
