"""How the calls of a batch are spread: their time, cost and length, as quantiles from the least to the most."""

from __future__ import annotations

from collections.abc import Iterable

STEPS = 20


def quantiles(values: Iterable[int | None]) -> list[int] | None:
    """The least, every twentieth up to the most: 21 figures. `None` where nothing is known."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    return [known[(len(known) - 1) * step // STEPS] for step in range(STEPS + 1)]
