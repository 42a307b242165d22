"""About what a call will cost with each model, before it is made: its prompt by its size, what is warm in whose cache.

How many bytes make a token is learned from the answers, by model. Steps in a price (Haiku 5.5 above 100,000 tokens of
prompt) are taken with a margin, so that they are seen before they are paid. Knows no rule and no I/O.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import msgspec

from freehold.calls import Call
from freehold.gateway.routing.decision import Option
from freehold.gateway.routing.models import refusal
from freehold.gateway.routing.prices import (
    BYTES_PER_TOKEN,
    BYTES_PER_TOKEN_BEYOND_ASCII,
    Price,
    Prices,
    Sized,
    Three,
    options_of,
)
from freehold.gateway.routing.signals import TEXT_ALONE, Signals
from freehold.ledger.bounds import CONTEXT_TOKENS
from freehold.ledger.media import Seen
from freehold.ledger.rates import Card, Rate, Rates
from freehold.wire.facts import Usage

LEARNED_FROM_BYTES = 2_000
"""Of shorter requests the frame is too much of the whole to tell anything of its tokens."""
_NEVER_CACHED_BYTES = 1_000
"""So little text is below the least of any cache, with every model and in every language."""
_USUAL_OUTPUT = 400.0
_KEPT = 20_000
_MODELS = 1_000
_PRICES_KEPT_US = 300_000_000
_TOKENS_KEPT_US = 1_000_000
"""So long what answers have told of tokens may wait before it counts: prices are not worked out anew for each call."""
_TTL_US = {False: 300_000_000, True: 3_600_000_000}


@dataclass
class _Warm:
    until_us: int
    tokens: int


@dataclass
class _Known:
    """What is known of a model: its size of tokens from what it answered, its prices of now."""

    bytes_per_token: float = 0.0
    until_us: int = 0
    step: int = 0
    rates: tuple[Three, Three] | None = None


class Estimates:
    """What has been learned of sizes and caches, and the options of a call. One for a process."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._models: dict[str, _Known] = {}
        self._prices: dict[tuple[tuple[str, str], ...], Prices] = {}
        self._output = _USUAL_OUTPUT  # of all models: by its own, the one that was asked less would look dearer
        self._warm: OrderedDict[tuple[object, str], _Warm] = OrderedDict()

    def prices(self, tiers: tuple[tuple[str, str], ...], now_us: int) -> Prices:
        """Those of these (tier, model) as they stand."""
        found = self._prices.get(tiers)
        if found is not None and now_us < found.until_us:
            return found
        if len(self._prices) >= _MODELS:
            self._prices.clear()
        made = Prices([self._price(tier, model, now_us) for tier, model in tiers], now_us + _TOKENS_KEPT_US)
        self._prices[tiers] = made
        return made

    def likely_output(self, signals: Signals) -> int:
        """Tokens that are likely to be written."""
        return min(signals.most_output, int(self._output))

    def is_plain(self, prices: Prices, call: Call, signals: Signals) -> bool:
        """Whether nothing but its text can decide about a call: no model refuses it, no tier is warm, none has a step
        in its price below it or is cheaper than a lower one, and its client sets no price.
        """
        size = signals.prompt_bytes
        if size >= prices.plain_bytes or signals.most_output == 0 or call.max_cost_nanodollars is not None:
            return False
        besides = signals.besides
        if besides is not TEXT_ALONE and (besides.forced or besides.thinking or besides.media):
            return False
        return not self._warm or size < _NEVER_CACHED_BYTES

    def options(self, tiers: tuple[tuple[str, str], ...], call: Call, signals: Signals, now_us: int) -> list[Option]:
        """The tiers for this call."""
        size, media = _size(call, signals)
        prices = self.prices(tiers, now_us).tiers
        sized = Sized(size, media, first_guess(signals), self.likely_output(signals), signals.most_output)
        cached, refused = [], []
        if self._warm:
            start = _start_key(call)
            cached = [self._cached(signals.conversation, start, model, now_us) for _, model in tiers]
        besides = signals.besides
        if besides.forced or besides.thinking:
            refused = [refusal(model, besides.forced, besides.thinking) for _, model in tiers]
        return options_of(prices, sized, cached, refused)

    def one(self, model: str, call: Call, signals: Signals, now_us: int) -> Option:
        """A single model, whatever it refuses."""
        return self.options((("", model),), call, signals, now_us)[0]

    def _price(self, tier: str, model: str, now_us: int) -> Price:
        known = self._models.get(model) or self._learn_of(model)
        if now_us >= known.until_us:
            self._look_up(known, model, now_us)
        return Price(tier, model, round(known.bytes_per_token, 4), known.step, known.rates)

    def _learn_of(self, model: str) -> _Known:
        if len(self._models) >= _MODELS:
            self._models.clear()
        known = self._models[model] = _Known()
        return known

    def _look_up(self, known: _Known, model: str, now_us: int) -> None:
        """The prices of now; they change by the date, so they are looked up every few minutes."""
        known.until_us = now_us + _PRICES_KEPT_US
        card = self._rates.card(model)
        low = card.rate(1, now_us, fast=False) if card is not None else None
        high = card.rate(CONTEXT_TOKENS, now_us, fast=False) if card is not None else None
        known.rates = None if low is None or high is None else (_three(low), _three(high))
        known.step = CONTEXT_TOKENS * 1_000
        if card is not None and low != high:
            known.step = _step(card, now_us)

    def _cached(self, conversation: str, start: object, model: str, now_us: int) -> int:
        own = self._warm.get((conversation, model))
        if own is not None and own.until_us > now_us:
            return own.tokens
        shared = self._warm.get((start, model))
        return shared.tokens if shared is not None and shared.until_us > now_us else 0

    def answered(self, model: str, call: Call, signals: Signals, usage: Usage, now_us: int) -> None:
        """Learn from an answer of that model."""
        kept = usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        prompt = usage.input_tokens + kept
        size, media_tokens = _size(call, signals)
        known = self._models.get(model) or self._learn_of(model)
        if prompt > media_tokens and size > LEARNED_FROM_BYTES:
            found = size / (prompt - media_tokens)
            known.bytes_per_token = 0.8 * (known.bytes_per_token or found) + 0.2 * found
        self._output = 0.95 * self._output + 0.05 * usage.output_tokens
        if kept:
            until_us = now_us + _TTL_US[usage.cache_write_1h_tokens > 0]
            start, shared = _start_key(call), _shared_bytes(call)
            ratio = known.bytes_per_token or first_guess(signals)
            self._keep((signals.conversation, model), until_us, kept)
            self._keep((start, model), until_us, min(kept, int(shared / ratio)))

    def _keep(self, key: tuple[object, str], until_us: int, tokens: int) -> None:
        self._warm[key] = _Warm(until_us, tokens)
        self._warm.move_to_end(key)
        while len(self._warm) > _KEPT:
            self._warm.popitem(last=False)


def _three(rate: Rate) -> Three:
    return rate[0], rate[1], rate[4]


def _step(card: Card, now_us: int) -> int:
    """The longest prompt at the lower price, in tokens."""
    low, high = 1, CONTEXT_TOKENS
    lowest = card.rate(1, now_us, fast=False)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if card.rate(middle, now_us, fast=False) == lowest else (low, middle - 1)
    return low


def first_guess(signals: Signals) -> float:
    """Bytes of a token, before any answer has told."""
    return BYTES_PER_TOKEN if signals.text.isascii() else BYTES_PER_TOKEN_BEYOND_ASCII


def _size(call: Call, signals: Signals) -> tuple[int, int]:
    """(bytes of text, tokens of media): what an image is worth has nothing to do with its bytes."""
    if not signals.besides.media:
        return signals.prompt_bytes, 0
    raw = call.fields.get("messages", b"")
    seen = Seen()
    try:
        seen.messages(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return signals.prompt_bytes, 0
    return max(0, signals.prompt_bytes - seen.bytes), seen.tokens


def _start_key(call: Call) -> object:
    """What all conversations of one application begin with, as far as it is looked at."""
    tools, system = call.fields.get("tools", b""), call.fields.get("system", b"")
    return len(tools), len(system), tools[:1024], system[:1024], call.caller.workspace_id if call.caller else ""


def _shared_bytes(call: Call) -> int:
    return len(call.fields.get("tools", b"")) + len(call.fields.get("system", b""))
