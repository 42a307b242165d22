"""The most that one attempt of a call can cost, before it is made: the upper bound that budgets reserve.

A token is at least one byte of UTF-8, and JSON is never shorter than the text in it: so the bytes of the request bound
its prompt, with a fixed overhead for what the API adds for tools, and the context window as the end of it. Output is
bounded by `max_tokens`. All of it at the dearest rate that the call can reach: cache writes if it asks for them, the
band of the longest prompt (Haiku 5.5 above 100,000 tokens), fast mode, US inference. What runs at the upstream and has
no such bound is refused where a hard budget applies, with a 400 that says why.

Knows no budgets. Costs a few microseconds for a request without media.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from freehold.calls import Call
from freehold.errors import InvalidRequest
from freehold.ledger.media import Seen
from freehold.ledger.rates import PICODOLLARS_PER_NANODOLLAR, Card, Rates

CONTEXT_TOKENS = 1_000_000
"""The largest context window of any model; a longer prompt is refused by the API."""
OLDER_CONTEXT_TOKENS = 200_000
_OLDER = ("-4-5", "-4-1", "-4-0", "claude-3", "claude-opus-4-2", "claude-sonnet-4-2")
MOST_OUTPUT_TOKENS = 128_000
"""Where `max_tokens` is missing or odd; the API refuses such a call."""
TOOLS_TOKENS = 1_000
"""The API adds a system prompt when there are tools: up to 700 tokens (API docs, tool use, read 2026-11-23)."""
TYPED_TOOL_TOKENS = 2_000
"""A tool that Claude knows by its type is longer there than its few bytes here: computer use 735, editor 700."""
FORMAT_TOKENS = 1_000
"""Structured output adds a system prompt of its own."""
BASE_TOKENS = 16
MOST_USES = 20
"""Of a server tool in one request, if it says so itself."""
_SEARCHED_BYTES = 4_096
_REMEMBERED_MODELS = 1_024
_LOWEST_BAND_TOKENS = 100_000
"""No model's price changes below; a test looks at all of them."""
_CLIENT_TOOLS = ("bash_", "text_editor_", "computer_", "memory_", "custom")
_COUNTED_TOOLS = ("web_search_", "web_fetch_")
_NO_BOUND = {
    "mcp_servers": "calls tools of MCP servers at the upstream",
    "container": "runs code at the upstream",
    "compaction": "may compact the conversation in further passes at the upstream",
    "context_management": "may compact the conversation in further passes at the upstream",
    "fallbacks": "may be answered by other models at the upstream",
    "thread": "goes on with what is kept at the upstream",
}
_TENTHS_A_NANODOLLAR = 10 * PICODOLLARS_PER_NANODOLLAR
_EMPTY = frozenset({b"null", b"[]", b"{}"})
_TALK = frozenset(
    {
        *("model", "messages", "max_tokens", "system", "stream", "metadata", "temperature", "top_p", "top_k"),
        *("stop_sequences", "thinking", "service_tier"),
    }
)
"""Members of a request that need no look where no content is in blocks."""
_decode = msgspec.json.Decoder().decode


class Bound:
    """At most so much. `nanodollars` is `None` where the model has no price."""

    __slots__ = ("nanodollars", "output_tokens", "rough", "tokens")

    def __init__(self, nanodollars: int | None, tokens: int, output_tokens: int, rough: bool = False) -> None:
        self.nanodollars = nanodollars
        self.tokens = tokens
        self.output_tokens = output_tokens
        """Of `tokens`, at most so many of output."""
        self.rough = rough
        """A lower one would be found by looking into the messages."""


class Bounds:
    """Bounds calls. `aliases` are the upstream's own names for models that clients ask for."""

    def __init__(self, rates: Rates, *, aliases: Mapping[str, str] | None = None, assume_us: bool = False) -> None:
        self._rates = rates
        self._aliases = dict(aliases or {})
        self._assume_us = assume_us
        self._talk_rates: dict[str, tuple[int, int, int]] = {}
        """By model: what a token of prompt and of output costs in a short call without blocks, in tenths of picodollars
        (so that 1.1 times a price is an integer, too), and until when.
        """

    def of(self, call: Call, now_us: int, *, roughly: bool = False) -> Bound:
        """The bound of one attempt of the call. `roughly`: a long one is bounded by the context window, unread.

        Raises:
            InvalidRequest: it asks for something whose cost has no bound; the message names it.
        """
        fields, prompt = call.fields, len(call.body) + BASE_TOKENS
        if prompt <= _LOWEST_BAND_TOKENS and _is_talk(fields):
            rates = self._talk_rates.get(call.model)
            if rates is None or rates[2] <= now_us:
                rates = self._rates_of_talk(call.model, now_us)
            if rates is not None:
                output = _max_tokens(fields)
                return Bound(
                    -(-(prompt * rates[0] + output * rates[1]) // _TENTHS_A_NANODOLLAR), prompt + output, output
                )
        return self._of_any(call, now_us, roughly=roughly)

    def _rates_of_talk(self, model: str, now_us: int) -> tuple[int, int, int] | None:
        card = self._rates.card(self._aliases.get(model, model))
        rate = _dearest(card, 1, now_us, False, caches=False) if card is not None else None
        if card is None or rate is None:
            return None
        if len(self._talk_rates) >= _REMEMBERED_MODELS:
            self._talk_rates.clear()
        tenths = 11 if self._assume_us else 10
        found = self._talk_rates[model] = (rate[0] * tenths, rate[1] * tenths, card.until_us(now_us, fast=False))
        return found

    def _of_any(self, call: Call, now_us: int, *, roughly: bool) -> Bound:
        fields = call.fields
        model = self._aliases.get(call.model, call.model)
        context = context_tokens(model)
        output = _max_tokens(fields)
        prompt, passes, searches = len(call.body) + BASE_TOKENS, 1, 0
        if not _NO_BOUND.keys().isdisjoint(fields):
            _check_bounded(fields)
        if "tools" in fields:
            added, passes, searches = _tools(fields["tools"])
            prompt += added
        if "output_config" in fields or "output_format" in fields:
            prompt += FORMAT_TOKENS
        caches, looks = _glance(call.body, fields["messages"])
        rough = looks and roughly
        if rough:
            prompt = context
        elif looks:
            caches, prompt = _look(fields, prompt, context)
        if passes > 1:  # every pass reads all that came before it
            prompt, output = passes * context, passes * output
        prompt = min(prompt, passes * context)
        nanodollars = self._cost(call, model, prompt, output, caches or passes > 1, now_us)
        if nanodollars is not None:
            nanodollars += searches * self._search_price(model)
        return Bound(nanodollars, prompt + output, output, rough)

    def _search_price(self, model: str) -> int:
        card = self._rates.card(model)
        return card.web_search_nanodollars if card is not None else 0

    def _cost(self, call: Call, model: str, prompt: int, output: int, caches: bool, now_us: int) -> int | None:
        card = self._rates.card(model)
        if card is None:
            return None
        rate = _dearest(card, prompt, now_us, _text(call.fields, "speed") == "fast", caches=caches)
        if rate is None:
            return None
        geo = _text(call.fields, "inference_geo")
        tenths = 11 if geo == "us" or (self._assume_us and geo != "global") else 10
        return -(-(prompt * rate[0] + output * rate[1]) * tenths // _TENTHS_A_NANODOLLAR)


_WHY = "a hard budget applies to it, which can only admit calls that have one. Leave it out, or use a soft budget."


@lru_cache(maxsize=1024)
def context_tokens(model: str) -> int:
    """The context window of a model, or more."""
    return OLDER_CONTEXT_TOKENS if any(mark in model for mark in _OLDER) else CONTEXT_TOKENS


def _dearest(card: Card, prompt: int, now_us: int, fast: bool, *, caches: bool) -> tuple[int, int] | None:
    """The dearest price of a token of prompt and of output, of all bands that a prompt up to that long can reach."""
    found = card.rate(prompt, now_us, fast=fast)
    if found is None:
        return None
    least = found if prompt <= _LOWEST_BAND_TOKENS else card.rate(1, now_us, fast=fast) or found
    prompt_rate = max(found[0], found[4], least[0], least[4])
    if caches:
        prompt_rate = max(prompt_rate, found[2], found[3], least[2], least[3])
    return prompt_rate, max(found[1], least[1])


def _is_talk(fields: Mapping[str, bytes]) -> bool:
    """Whether a call is texts alone: no block, which is where media and cache writes are asked for, nor tools."""
    return (
        fields.keys() <= _TALK
        and fields["messages"].find(b"[", 1) < 0
        and ("system" not in fields or fields["system"].startswith(b'"'))
    )


def _text(fields: Mapping[str, bytes], name: str) -> object:
    return _decode(fields[name]) if name in fields else None


def _check_bounded(fields: Mapping[str, bytes]) -> None:
    for name, what in _NO_BOUND.items():
        if name in fields and fields[name] not in _EMPTY:
            raise InvalidRequest(f"{name}: the call {what}, so its cost has no bound; {_WHY}")


def _max_tokens(fields: Mapping[str, bytes]) -> int:
    raw = fields.get("max_tokens", b"")
    return int(raw) if raw.isdigit() and len(raw) < 10 else MOST_OUTPUT_TOKENS


def _tools(raw: bytes) -> tuple[int, int, int]:
    """(tokens that the API adds, model passes at most, web searches at most)."""
    if b'"type"' not in raw and b"\\u00" not in raw:
        return TOOLS_TOKENS, 1, 0
    tools = _decode(raw)
    added, uses, searches = TOOLS_TOKENS, 0, 0
    for place, tool in enumerate(tools if isinstance(tools, list) else ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not isinstance(kind, str) or kind == "custom":
            continue
        added += TYPED_TOOL_TOKENS
        if kind.startswith(_COUNTED_TOOLS):
            most = _uses(tool, place, kind)
            uses += most
            searches += most if kind.startswith("web_search_") else 0
        elif not kind.startswith(_CLIENT_TOOLS):
            raise InvalidRequest(f"tools.{place}: {kind[:64]} runs at the upstream without a bound; {_WHY}")
    return added, 1 + uses, searches


def _uses(tool: dict[str, Any], place: int, kind: str) -> int:
    most = tool.get("max_uses")
    if type(most) is not int or not 0 <= most <= MOST_USES:
        raise InvalidRequest(
            f"tools.{place}.max_uses: {kind[:64]} runs at the upstream; where a hard budget applies, say how often, "
            f"from 0 to {MOST_USES}."
        )
    return most


def _glance(body: bytes, messages: bytes) -> tuple[bool, bool]:
    """(it may write to the cache, it has to be looked through), by searching for names. A long request is read whole
    at once, which takes less time than searching it again and again; so is one that spells letters as escapes.
    """
    if len(messages) > _SEARCHED_BYTES or b"\\u00" in body:
        return True, True
    return b"cache_control" in body, b'"source"' in messages or b'"file_id"' in messages


def _look(fields: Mapping[str, bytes], prompt: int, context: int) -> tuple[bool, int]:
    """(it may write to the cache, the bound of its prompt), by looking at every block."""
    seen = Seen()
    try:
        seen.messages(fields["messages"])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return True, context
    caches = seen.caches or "cache_control" in fields
    for name in ("system", "tools"):
        raw = fields.get(name, b"")
        caches = caches or b"cache_control" in raw or b"\\u00" in raw
    return caches, context if seen.unseen else prompt - seen.bytes + seen.tokens
