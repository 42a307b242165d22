"""What tokens cost: integers compiled from `genai-prices` and our overlay, looked up without a library.

Rates are picodollars a token (so that 62.5 nanodollars are an integer, too); a cost is summed exactly and rounded up
once, to nanodollars. The prompt that decides about a band (Haiku 5.5 above 100,000 tokens) is the whole of it: uncached
input, cache writes and cache reads. In Claude's `usage` `input_tokens` is the uncached rest alone, so the kinds are
added, never subtracted.

This module does not know upstreams, calls or budgets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from freehold.ledger.periods import FOREVER
from freehold.wire.facts import Iteration, Usage

PICODOLLARS_PER_NANODOLLAR = 1000
_CACHED_MODELS = 4096  # names come from clients and upstreams; beyond so many the cache begins anew
_MODEL_CHARS = 256  # no model's name is longer

Rate = tuple[int, int, int, int, int]
"""Picodollars per token of input, output, 5-minute write, 1-hour write, cache read."""


@dataclass(frozen=True, slots=True)
class Card:
    """The prices of one model. Periods are newest first, bands highest first."""

    id: str
    standard: tuple[tuple[int, tuple[tuple[int, Rate], ...]], ...]
    fast: tuple[tuple[int, tuple[tuple[int, Rate], ...]], ...]
    web_search_nanodollars: int

    def rate(self, prompt_tokens: int, at_us: int, *, fast: bool) -> Rate | None:
        """The row for a prompt of that length at that time; `None`: no such price is known."""
        for from_us, bands in self.fast if fast else self.standard:
            if at_us >= from_us:
                for above, rate in bands:
                    if prompt_tokens > above or above == 0:
                        return rate
        return None

    def until_us(self, at_us: int, *, fast: bool) -> int:
        """When other prices begin."""
        return min(
            (from_us for from_us, _ in (self.fast if fast else self.standard) if from_us > at_us), default=FOREVER
        )


class Rates:
    """The price table. `version` names it and is stored with every cost."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.version: str = table["version"]
        self._models = [(_matcher(model["match"]), _card(model)) for model in table["models"]]
        self._found: dict[str, Card | None] = {}

    @classmethod
    def load(cls, path: Path | None = None) -> Rates:
        """From the table in this package, or another of the same form. Takes about a millisecond."""
        file = path or Path(__file__).with_name("rates.json")
        return cls(msgspec.json.decode(file.read_bytes()))

    def card(self, model: str) -> Card | None:
        """The prices of a model by any name it is known by; `None`: unknown."""
        try:
            return self._found[model]
        except KeyError:
            return self._look_up(model)

    def cost(self, model: str | None, usage: Usage, at_us: int, *, batch: bool = False) -> int | None:
        """Nanodollars for that usage at that time (microseconds since 1970), rounded up; `None`: no price is known.

        Half of it in a batch, 1.1 times with `inference_geo` `us`, both on tokens only; web searches are added.
        A usage with iterations is the sum of them, each at its own model's price: its top level leaves some out.
        """
        card = self.card(model) if model else None
        if card is None:
            return None
        if usage.iterations:
            passes = [self._iteration_cost(iteration, card, usage, at_us) for iteration in usage.iterations]
            tokens = None if None in passes else sum(cost for cost in passes if cost is not None)
        else:
            tokens = _token_cost(card, usage, at_us, fast=usage.speed == "fast")
        if tokens is None:
            return None
        if batch or usage.service_tier == "batch":
            tokens = -(-tokens // 2)
        if usage.inference_geo == "us":
            tokens = -(-tokens * 11 // 10)
        searches = usage.web_searches * card.web_search_nanodollars
        return -(-tokens // PICODOLLARS_PER_NANODOLLAR) + searches

    def _iteration_cost(self, iteration: Iteration, card: Card, usage: Usage, at_us: int) -> int | None:
        own = self.card(iteration.model) if iteration.model else card
        return _token_cost(own, iteration, at_us, fast=usage.speed == "fast") if own else None

    def _look_up(self, model: str) -> Card | None:
        if len(model) > _MODEL_CHARS:
            return None
        if len(self._found) >= _CACHED_MODELS:
            self._found.clear()
        lower = model.lower()
        found = self._found[model] = next((card for pattern, card in self._models if pattern.search(lower)), None)
        return found


def _token_cost(card: Card, used: Usage | Iteration, at_us: int, *, fast: bool) -> int | None:
    writes_5m, writes_1h = used.cache_write_5m_tokens, used.cache_write_1h_tokens
    prompt = used.input_tokens + writes_5m + writes_1h + used.cache_read_tokens
    rate = card.rate(prompt, at_us, fast=fast)
    if rate is None:
        return None
    uncached, output, write_5m, write_1h, read = rate
    return (
        used.input_tokens * uncached
        + used.output_tokens * output
        + writes_5m * write_5m
        + writes_1h * write_1h
        + used.cache_read_tokens * read
    )


def _matcher(clauses: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(_pattern, clauses)))


def _pattern(clause: str) -> str:
    kind, _, text = clause.partition(" ")
    literal = re.escape(text.lower())
    return {"equals": f"^{literal}$", "prefix": f"^{literal}", "contains": literal, "regex": f"(?:{text})"}[kind]


def _card(model: dict[str, Any]) -> Card:
    return Card(model["id"], _periods(model["standard"]), _periods(model["fast"]), model["web_search"])


def _periods(periods: list[dict[str, Any]]) -> tuple[tuple[int, tuple[tuple[int, Rate], ...]], ...]:
    return tuple(
        (period["from_us"] or 0, tuple((above, _row(rates)) for above, rates in period["bands"])) for period in periods
    )


def _row(rates: list[int | None]) -> Rate:
    """The oldest models have no price for cached tokens because they cache nothing: such tokens count as input."""
    uncached = rates[0] or 0
    first, output, write_5m, write_1h, read = (uncached if rate is None else rate for rate in rates)
    return first, output, write_5m, write_1h, read
