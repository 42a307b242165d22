"""Money as integer nanodollars (1 USD = 1,000,000,000), because one cached Haiku 5.5 token costs ten of them."""

from __future__ import annotations

from decimal import Decimal

NANODOLLARS_PER_DOLLAR = 1_000_000_000
NANODOLLARS_PER_CENT = 10_000_000


def nanodollars(dollars: Decimal | str | int) -> int:
    """Exact nanodollars of a dollar amount; a float is not taken because it is not exact.

    Raises:
        ValueError: the amount has more than nine decimals, or is not a number.
    """
    try:
        amount = Decimal(dollars) * NANODOLLARS_PER_DOLLAR
    except ArithmeticError as error:
        raise ValueError(f"{dollars!r} is not an amount of dollars") from error
    if amount != amount.to_integral_value():
        raise ValueError(f"{dollars} has more than nine decimals")
    return int(amount)


def show_dollars(amount_nanodollars: int) -> str:
    """For people: `$0.0123`; at least two decimals, and no more than are needed."""
    dollars = Decimal(amount_nanodollars) / NANODOLLARS_PER_DOLLAR
    text = f"{dollars:.9f}".rstrip("0")
    whole, _, fraction = text.partition(".")
    return f"${whole}.{fraction.ljust(2, '0')}"
