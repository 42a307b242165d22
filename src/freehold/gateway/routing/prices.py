"""The prices of the tiers behind a name, as they stand for a while, and what a request costs with each. Pure.

Most requests are so small, and prices so far apart, that no option has to be worked out to choose one (`plain_bytes`):
the record keeps size and prices then (`Plain`), and the options follow from them when somebody reads it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from freehold.gateway.routing.decision import Option
from freehold.ledger.rates import PICODOLLARS_PER_NANODOLLAR

MARGIN = 1.05
"""A prompt is taken for so much longer than it looks, so that a step in a price is seen before it is paid."""
BYTES_PER_TOKEN = 3.0
BYTES_PER_TOKEN_BEYOND_ASCII = 2.0
"""Before any answer has told; on the low side, so that a maximal cost holds."""
Three = tuple[int, int, int]
"""Picodollars a token of input, output and cache read."""


class Price(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A tier's model. `bytes_per_token` is 0 until an answer has told; `rates`: up to the step and above it."""

    tier: str
    model: str
    bytes_per_token: float
    step: int
    rates: tuple[Three, Three] | None


class Plain(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A price as far as it matters to a plain request, which stays below every step and is in no cache."""

    tier: str
    model: str
    bytes_per_token: float
    rates: tuple[int, int] | None
    """Picodollars a token of input and of output."""

    def price(self) -> Price:
        """The whole price, as far as it is known."""
        three = None if self.rates is None else (*self.rates, 0)
        return Price(self.tier, self.model, self.bytes_per_token, _NO_STEP, None if three is None else (three, three))


_NO_STEP = 1 << 40
"""Tokens; no prompt is so long."""


class Sized(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A request: bytes of text, tokens of media, bytes of a token where nothing is known, likely and longest output."""

    size: int
    media: int
    guess: float
    likely: int
    most_output: int


class Prices:
    """Those of all tiers of a name. `text` is their JSON as `Plain`. `plain_bytes`: a request of fewer bytes, of text
    only, stays below every step, and each tier costs more than the one before it; 0: that cannot be said.
    """

    __slots__ = ("plain_bytes", "text", "tiers", "until_us")

    def __init__(self, tiers: Sequence[Price], until_us: int) -> None:
        self.tiers = tuple(tiers)
        self.until_us = until_us
        self.text = msgspec.json.encode([_plain(tier) for tier in tiers]).decode()
        priced = [(tier, tier.rates[0]) for tier in tiers if tier.rates is not None]
        rising = all(_is_dearer(above, below) for at, above in enumerate(priced) for below in priced[:at])
        reach = [tier.step * min(tier.bytes_per_token or 9.0, BYTES_PER_TOKEN_BEYOND_ASCII) for tier, _ in priced]
        self.plain_bytes = int(min(reach, default=0.0) / MARGIN) if rising else 0


def _plain(price: Price) -> Plain:
    rates = price.rates
    return Plain(price.tier, price.model, price.bytes_per_token, None if rates is None else rates[0][:2])


def _is_dearer(above: tuple[Price, Three], below: tuple[Price, Three]) -> bool:
    """At every size, with at least one token of output: roundings down to whole tokens and nanodollars are made up for
    by that one token.
    """
    (dear, (fresh, output, _)), (cheap, (fresh_below, output_below, _)) = above, below
    ratio = 1.0
    if dear.bytes_per_token or cheap.bytes_per_token:
        ratio = (dear.bytes_per_token or BYTES_PER_TOKEN) / (cheap.bytes_per_token or BYTES_PER_TOKEN_BEYOND_ASCII)
    return fresh >= fresh_below * ratio and output - output_below > fresh + PICODOLLARS_PER_NANODOLLAR


def options_of(
    prices: Sequence[Price], sized: Sized, cached: Sequence[int] = (), refused: Sequence[str | None] = ()
) -> list[Option]:
    """The tiers for a request. `cached` and `refused` by tier: tokens that are warm, and why it would be refused."""
    options = []
    for at, price in enumerate(prices):
        prompt = int(sized.size / (price.bytes_per_token or sized.guess)) + sized.media
        warm = min(cached[at], prompt) if cached else 0
        refuses = refused[at] if refused else None
        if price.rates is None:
            options.append(Option(price.tier, price.model, prompt, warm, None, None, False, refuses))
            continue
        careful = int(prompt * MARGIN)
        above = careful > price.step
        fresh, output, read = price.rates[above]
        expected = ((prompt - warm) * fresh + warm * read + sized.likely * output) // PICODOLLARS_PER_NANODOLLAR + 1
        most = (careful * fresh + sized.most_output * output) // PICODOLLARS_PER_NANODOLLAR + 1
        options.append(Option(price.tier, price.model, prompt, warm, expected, most, above, refuses))
    return options


def unpriced(tiers: Sequence[tuple[str, str]]) -> list[Option]:
    """These (tier, model), for a request about which no price decides."""
    return [Option(tier, model, 0, 0, None, None, False) for tier, model in tiers]
