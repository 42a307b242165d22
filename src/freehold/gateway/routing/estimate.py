"""About what a call will cost with each model, before it is made: its prompt by its size, what is warm in whose cache.

How many bytes make a token is learned from the answers, by model. Steps in a price (Haiku 5.5 above 100,000 tokens of
prompt) are taken with a margin, so that they are seen before they are paid. Knows no rule and no I/O.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import msgspec

from freehold.calls import Call
from freehold.gateway.routing.decision import Option
from freehold.gateway.routing.models import refusal
from freehold.gateway.routing.signals import Signals
from freehold.ledger.bounds import CONTEXT_TOKENS
from freehold.ledger.media import Seen
from freehold.ledger.rates import PICODOLLARS_PER_NANODOLLAR, Card, Rate, Rates
from freehold.wire.facts import Usage

_BYTES_PER_TOKEN = 3.0
_BYTES_PER_TOKEN_BEYOND_ASCII = 2.0
"""Before any answer has told; on the low side, so that a maximal cost holds."""
_MARGIN = 1.05
_LEARNED_FROM_BYTES = 2_000
_USUAL_OUTPUT = 400.0
_KEPT = 20_000
_MODELS = 1_000
_PRICES_KEPT_US = 300_000_000
_TTL_US = {False: 300_000_000, True: 3_600_000_000}


@dataclass(slots=True)
class _Warm:
    until_us: int
    tokens: int


@dataclass(slots=True)
class _Known:
    """What is known of a model: its size of tokens from what it answered, its prices of now."""

    bytes_per_token: float = 0.0
    until_us: int = 0
    step: int = 0
    rates: tuple[tuple[int, int, int], tuple[int, int, int]] | None = None
    """Picodollars a token of input, output and cache read, up to the step and above it."""


class Estimates:
    """What has been learned of sizes and caches, and the options of a call. One for a process."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._models: dict[str, _Known] = {}
        self._output = _USUAL_OUTPUT  # of all models: by its own, the one that was asked less would look dearer
        self._warm: OrderedDict[tuple[object, str], _Warm] = OrderedDict()

    def options(self, tiers: tuple[tuple[str, str], ...], call: Call, signals: Signals, now_us: int) -> list[Option]:
        """The tiers for this call."""
        size, media = _size(call, signals)
        start = _start_key(call) if self._warm else None
        odd = signals.forced or signals.thinking != ""
        guess, likely = _first_guess(signals), min(signals.most_output, int(self._output))
        options = []
        for tier, model in tiers:
            known = self._models.get(model) or self._learn_of(model)
            if now_us >= known.until_us:
                self._look_up(known, model, now_us)
            prompt = int(size / (known.bytes_per_token or guess)) + media
            cached = self._cached(signals.conversation, start, model, now_us, prompt) if start is not None else 0
            refuses = refusal(model, signals.forced, signals.thinking) if odd else None
            rates = known.rates
            if rates is None:
                options.append(Option(tier, model, prompt, cached, None, None, False, refuses))
                continue
            careful = int(prompt * _MARGIN)
            above = careful > known.step
            fresh, output, read = rates[above]
            expected = ((prompt - cached) * fresh + cached * read + likely * output) // PICODOLLARS_PER_NANODOLLAR + 1
            most = (careful * fresh + signals.most_output * output) // PICODOLLARS_PER_NANODOLLAR + 1
            options.append(Option(tier, model, prompt, cached, expected, most, above, refuses))
        return options

    def one(self, model: str, call: Call, signals: Signals, now_us: int) -> Option:
        """A single model, whatever it refuses."""
        return self.options((("", model),), call, signals, now_us)[0]

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

    def _cached(self, conversation: str, start: object, model: str, now_us: int, prompt: int) -> int:
        own = self._warm.get((conversation, model))
        if own is not None and own.until_us > now_us:
            return min(own.tokens, prompt)
        shared = self._warm.get((start, model))
        return min(shared.tokens, prompt) if shared is not None and shared.until_us > now_us else 0

    def answered(self, model: str, call: Call, signals: Signals, usage: Usage, now_us: int) -> None:
        """Learn from an answer of that model."""
        kept = usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        prompt = usage.input_tokens + kept
        size, media_tokens = _size(call, signals)
        known = self._models.get(model) or self._learn_of(model)
        if prompt > media_tokens and size > _LEARNED_FROM_BYTES:
            found = size / (prompt - media_tokens)
            known.bytes_per_token = 0.8 * (known.bytes_per_token or found) + 0.2 * found
        self._output = 0.95 * self._output + 0.05 * usage.output_tokens
        if kept:
            until_us = now_us + _TTL_US[usage.cache_write_1h_tokens > 0]
            start, shared = _start_key(call), _shared_bytes(call)
            ratio = known.bytes_per_token or _first_guess(signals)
            self._keep((signals.conversation, model), until_us, kept)
            self._keep((start, model), until_us, min(kept, int(shared / ratio)))

    def _keep(self, key: tuple[object, str], until_us: int, tokens: int) -> None:
        self._warm[key] = _Warm(until_us, tokens)
        self._warm.move_to_end(key)
        while len(self._warm) > _KEPT:
            self._warm.popitem(last=False)


def _three(rate: Rate) -> tuple[int, int, int]:
    return rate[0], rate[1], rate[4]


def _step(card: Card, now_us: int) -> int:
    """The longest prompt at the lower price, in tokens."""
    low, high = 1, CONTEXT_TOKENS
    lowest = card.rate(1, now_us, fast=False)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if card.rate(middle, now_us, fast=False) == lowest else (low, middle - 1)
    return low


def _first_guess(signals: Signals) -> float:
    return _BYTES_PER_TOKEN if signals.text.isascii() else _BYTES_PER_TOKEN_BEYOND_ASCII


def _size(call: Call, signals: Signals) -> tuple[int, int]:
    """(bytes of text, tokens of media): what an image is worth has nothing to do with its bytes."""
    raw = call.fields.get("messages", b"")
    if b'"base64"' not in raw:
        return signals.prompt_bytes, 0
    seen = Seen()
    try:
        decoded: Any = msgspec.json.decode(raw)
        seen.messages(decoded)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return signals.prompt_bytes, 0
    return max(0, signals.prompt_bytes - seen.bytes), seen.tokens


def _start_key(call: Call) -> object:
    """What all conversations of one application begin with, as far as it is looked at."""
    tools, system = call.fields.get("tools", b""), call.fields.get("system", b"")
    return len(tools), len(system), tools[:1024], system[:1024], call.caller.workspace_id if call.caller else ""


def _shared_bytes(call: Call) -> int:
    return len(call.fields.get("tools", b"")) + len(call.fields.get("system", b""))
