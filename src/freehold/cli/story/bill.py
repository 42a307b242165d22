"""The running bill, as the server's own records have it, and the stop when it grows too large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from freehold.errors import FreeholdError
from freehold.money import show_dollars

if TYPE_CHECKING:
    from anthropic import Anthropic

COLUMNS = ("model", "calls", "tokens in", "cached", "out", "model time", "cost")


class OverBudget(FreeholdError):
    """The demo has spent what it may."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What the calls of this key have cost so far."""

    models: list[Mapping[str, object]]
    total: Mapping[str, object]

    @property
    def cost_nanodollars(self) -> int:
        """The sum; calls without a known price count nothing."""
        return _number(self.total, "cost_nanodollars")

    def rows(self) -> list[list[str]]:
        """One row a model and the sum, under `COLUMNS`."""
        return [_row(str(entry["model"]), entry) for entry in self.models] + [_row("all", self.total)]


class Meter:
    """Reads the bill and says when it is enough."""

    def __init__(self, client: Anthropic, most_nanodollars: int | None) -> None:
        """`most_nanodollars`: `None` where nothing really costs anything."""
        self._client = client
        self._most = most_nanodollars

    def read(self) -> Bill:
        """The bill of this moment, over all calls of the workspace."""
        answer = self._client.get("/freehold/v1/bill", cast_to=object)
        if not isinstance(answer, dict):
            raise FreeholdError("the server's bill is not an object")
        return Bill(answer["models"], answer["total"])

    def check(self) -> None:
        """Go on only below the limit.

        Raises:
            OverBudget: the calls so far have cost as much as the demo may spend.
        """
        if self._most is not None and (spent := self.read().cost_nanodollars) >= self._most:
            raise OverBudget(
                f"stopped: {show_dollars(spent)} are spent, and the demo may spend {show_dollars(self._most)}"
            )


def _row(name: str, entry: Mapping[str, object]) -> list[str]:
    cached = _number(entry, "cache_read_tokens")
    fresh = _number(entry, "input_tokens")
    written = _number(entry, "cache_write_5m_tokens") + _number(entry, "cache_write_1h_tokens")
    return [
        name,
        str(_number(entry, "calls")),
        str(fresh + written + cached),
        str(cached),
        str(_number(entry, "output_tokens")),
        f"{_number(entry, 'latency_us') / 1e6:.2f} s",
        show_dollars(_number(entry, "cost_nanodollars")),
    ]


def _number(entry: Mapping[str, object], name: str) -> int:
    value = entry[name]
    return value if isinstance(value, int) else 0
