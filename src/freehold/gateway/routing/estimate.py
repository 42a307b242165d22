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
from freehold.ledger.media import Seen
from freehold.ledger.rates import PICODOLLARS_PER_NANODOLLAR, Rate, Rates
from freehold.wire.facts import Usage

_BYTES_PER_TOKEN = 3.0
_BYTES_PER_TOKEN_BEYOND_ASCII = 2.0
"""Before any answer has told; on the low side, so that a maximal cost holds."""
_MARGIN = 1.05
_LEARNED_FROM_BYTES = 2_000
_USUAL_OUTPUT = 400
_KEPT = 20_000
_TTL_US = {False: 300_000_000, True: 3_600_000_000}


@dataclass(slots=True)
class _Warm:
    until_us: int
    tokens: int


class Estimates:
    """What has been learned of sizes and caches, and the options of a call. One for a process."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._bytes_per_token: dict[str, float] = {}
        self._output: dict[str, float] = {}
        self._warm: OrderedDict[tuple[object, str], _Warm] = OrderedDict()

    def options(self, tiers: tuple[tuple[str, str], ...], call: Call, signals: Signals, now_us: int) -> list[Option]:
        """The tiers for this call."""
        size, media_tokens = _size(call, signals)
        start = _start_key(call)
        return [self._option(tier, model, (size, media_tokens), start, signals, now_us) for tier, model in tiers]

    def one(self, model: str, call: Call, signals: Signals, now_us: int) -> Option:
        """A single model, whatever it refuses."""
        return self._option("", model, _size(call, signals), _start_key(call), signals, now_us)

    def _option(
        self, tier: str, model: str, size: tuple[int, int], start: object, signals: Signals, now_us: int
    ) -> Option:
        prompt = int(size[0] / self._bytes_per_token.get(model, _first_guess(signals))) + size[1]
        card = self._rates.card(model)
        cached = self._cached(signals.conversation, start, model, now_us, prompt)
        refuses = refusal(model, forced=signals.forced, thinking=signals.thinking)
        rate = card.rate(int(prompt * _MARGIN), now_us, fast=False) if card is not None else None
        if card is None or rate is None:
            return Option(tier, model, prompt, cached, None, None, False, refuses)
        output = min(signals.most_output, int(self._output.get(model, _USUAL_OUTPUT)))
        expected = _cost(rate, prompt - cached, cached, output)
        most = _cost(rate, int(prompt * _MARGIN), 0, signals.most_output)
        lowest = card.rate(1, now_us, fast=False)
        return Option(tier, model, prompt, cached, expected, most, lowest is not None and lowest[0] < rate[0], refuses)

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
        if prompt > media_tokens and size > _LEARNED_FROM_BYTES:
            found = size / (prompt - media_tokens)
            self._bytes_per_token[model] = 0.8 * self._bytes_per_token.get(model, found) + 0.2 * found
        self._output[model] = 0.95 * self._output.get(model, _USUAL_OUTPUT) + 0.05 * usage.output_tokens
        if kept:
            until_us = now_us + _TTL_US[usage.cache_write_1h_tokens > 0]
            start, shared = _start_key(call), _shared_bytes(call)
            ratio = self._bytes_per_token.get(model, _first_guess(signals))
            self._keep((signals.conversation, model), until_us, kept)
            self._keep((start, model), until_us, min(kept, int(shared / ratio)))

    def _keep(self, key: tuple[object, str], until_us: int, tokens: int) -> None:
        self._warm[key] = _Warm(until_us, tokens)
        self._warm.move_to_end(key)
        while len(self._warm) > _KEPT:
            self._warm.popitem(last=False)


def _cost(rate: Rate, fresh: int, cached: int, output: int) -> int:
    return -(-(fresh * rate[0] + cached * rate[4] + output * rate[1]) // PICODOLLARS_PER_NANODOLLAR)


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
