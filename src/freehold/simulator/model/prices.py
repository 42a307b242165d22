"""What Claude would have billed: a price table of its own, checked by hand, sharing no code with the ledger.

Rates are nanodollars per token, from the pricing tables of the Claude API docs (page "Pricing" and the model pages,
read 2026-11-23). Written out row by row on purpose: what is derived can be wrong in two places at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SONNET_55_READ_CHANGED_US = 1_791_331_200_000_000
"""2026-10-07: its cache reads went from 0.20 to 0.10 dollars a million."""
HAIKU_55_STEP = 100_000
"""Prompt tokens (cached ones too) up to which a Haiku 5.5 request costs a fifth, output included."""
WEB_SEARCH_NANODOLLARS = 10_000_000


@dataclass(frozen=True, slots=True)
class Rates:
    """Nanodollars per token of each kind."""

    input: int
    output: int
    write_5m: int
    write_1h: int
    read: int


_FABLE_52 = Rates(8_000, 40_000, 10_000, 16_000, 200)
_FABLE_51 = Rates(10_000, 50_000, 12_500, 20_000, 250)
_FABLE_5 = Rates(10_000, 50_000, 12_500, 20_000, 1_000)
_OPUS_5 = Rates(5_000, 25_000, 6_250, 10_000, 500)
_SONNET_4 = Rates(3_000, 15_000, 3_750, 6_000, 300)
_HAIKU_55_SHORT = Rates(100, 500, 125, 200, 10)
_HAIKU_55_LONG = Rates(500, 2_500, 625, 1_000, 50)
_SONNET_55_BEFORE = Rates(2_000, 10_000, 2_500, 4_000, 200)

TABLE: Mapping[str, Rates] = {
    "claude-fable-5-2": _FABLE_52,
    "claude-mythos-5-2": _FABLE_52,
    "claude-fable-5-1": _FABLE_51,
    "claude-mythos-5-1": _FABLE_51,
    "claude-fable-5": _FABLE_5,
    "claude-mythos-5": _FABLE_5,
    "claude-mythos-preview": _FABLE_5,
    "claude-opus-5-5": Rates(4_000, 20_000, 5_000, 8_000, 200),
    "claude-opus-5": _OPUS_5,
    "claude-opus-4-8": _OPUS_5,
    "claude-opus-4-7": _OPUS_5,
    "claude-opus-4-6": _OPUS_5,
    "claude-opus-4-5-20251101": _OPUS_5,
    "claude-sonnet-5-5": Rates(2_000, 10_000, 2_500, 4_000, 100),
    "claude-sonnet-5": Rates(2_000, 10_000, 2_500, 4_000, 200),
    "claude-sonnet-4-6": _SONNET_4,
    "claude-sonnet-4-5-20250929": _SONNET_4,
    "claude-haiku-5-5": _HAIKU_55_SHORT,
    "claude-haiku-4-5-20251001": Rates(1_000, 5_000, 1_250, 2_000, 100),
}


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one request used, in tokens."""

    uncached: int
    output: int
    write_5m: int = 0
    write_1h: int = 0
    read: int = 0

    @property
    def prompt(self) -> int:
        """All input, cached or not."""
        return self.uncached + self.write_5m + self.write_1h + self.read


def rates(model_id: str, prompt_tokens: int, at_us: int) -> Rates:
    """The rates of a request of that size at that time."""
    if model_id == "claude-haiku-5-5" and prompt_tokens > HAIKU_55_STEP:
        return _HAIKU_55_LONG
    if model_id == "claude-sonnet-5-5" and at_us < SONNET_55_READ_CHANGED_US:
        return _SONNET_55_BEFORE
    return TABLE[model_id]


def bill(
    model_id: str, used: Tokens, at_us: int, *, batch: bool = False, geo: str | None = None, speed: str = "standard"
) -> int:
    """Nanodollars of one request, rounded half up once at the end."""
    per = rates(model_id, used.prompt, at_us)
    amount = (
        used.uncached * per.input
        + used.output * per.output
        + used.write_5m * per.write_5m
        + used.write_1h * per.write_1h
        + used.read * per.read
    )
    divisor = 1
    if batch:
        divisor *= 2
    if geo == "us":
        amount, divisor = amount * 11, divisor * 10
    if speed == "fast":
        amount *= 2
    return (2 * amount + divisor) // (2 * divisor)
