"""Why a warm prefix was missed: the first block that differs from the request that had warmed it, and what that cost.

The last few requests of every key are kept in memory (a bounded number of bytes); what is told of a miss are a path, a
few bytes around the first difference, tokens and money. A new conversation is no miss, nor is an answer that came from
the cache as far as the two requests agree.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from freehold.calls import Call
from freehold.gateway.caching.layout import Block, Layout
from freehold.ledger.rates import PICODOLLARS_PER_NANODOLLAR, Rates
from freehold.wire.facts import Usage

_FIVE_MINUTES_US = 300_000_000
_HOUR_US = 3_600_000_000
_KEPT_EACH = 8
_KEYS = 1_000
_KEPT_BYTES = 32 << 20
_BEFORE, _AFTER = 24, 40
_ALIKE = 0.3
"""Two requests belong together when so much of the older one is in the newer one."""
_MISSED = 0.8
"""Less of what was warm was read than this part of it."""
_SETTINGS = ("thinking", "tool_choice", "output_config", "speed", "context_management")


class Finding(NamedTuple):
    """One miss and its culprit."""

    culprit: str
    """`model_changed`, `tools_reordered`, `tools_changed`, `system_changed`, `settings_changed`, `history_changed`,
    `expired` or `evicted`."""
    path: str
    """Of the first block that differs; empty where none does."""
    before: str
    after: str
    """A few bytes around the first difference, of the older and the newer request."""
    lost_tokens: int
    cost_nanodollars: int
    """What was paid for them beyond reading them."""
    warmed_by: str
    """Id of the call that had warmed the prefix."""


@dataclass(slots=True)
class _Warmed:
    call_id: str
    at_us: int
    model: str
    blocks: list[Block]
    settings: Mapping[str, bytes]
    tokens: int
    ttl_us: int
    size: int


class Doctor:
    """One for a process."""

    def __init__(self, rates: Rates, most_bytes: int = _KEPT_BYTES) -> None:
        self._rates = rates
        self._most = most_bytes
        self._bytes = 0
        self._keys: OrderedDict[str, deque[_Warmed]] = OrderedDict()

    def look(self, call: Call, layout: Layout, usage: Usage, now_us: int) -> Finding | None:
        """What this answer missed, if anything; and remember what it has warmed."""
        kept = usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        key = call.caller.key_id if call.caller is not None else ""
        finding = None
        if usage.cache_read_tokens < _MISSED * (kept + usage.input_tokens):
            finding = self._diagnose(call, layout, usage, self._keys.get(key, ()), now_us)
        if kept:
            ttl_us = _HOUR_US if usage.cache_write_1h_tokens else _FIVE_MINUTES_US
            self._keep(key, call, layout, kept, ttl_us, now_us)
        return finding

    def _diagnose(
        self, call: Call, layout: Layout, usage: Usage, earlier: Sequence[_Warmed], now_us: int
    ) -> Finding | None:
        alike = [(_shared(one, layout), one) for one in reversed(earlier)]
        alike = [(share, one) for share, one in alike if share >= _ALIKE and now_us - one.at_us <= 24 * _HOUR_US]
        if not alike:
            return None
        _, warmed = max(alike, key=lambda pair: pair[0])
        found = _compare(warmed, call, layout)
        gap_us = now_us - warmed.at_us
        if found is None:
            return None
        culprit, path, before, after = found
        if gap_us > warmed.ttl_us:
            culprit, path = ("expired", "") if culprit == "evicted" else (culprit, path)
            if culprit != "expired":
                return None  # it would have been cold by now in any case
            before, after = f"warm for {warmed.ttl_us // 1_000_000} s", f"asked again after {gap_us // 1_000_000} s"
        prompt = (
            usage.input_tokens + usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        )
        lost = min(warmed.tokens, prompt) - usage.cache_read_tokens
        if lost <= (1 - _MISSED) * warmed.tokens:
            return None
        cost = self._cost(call.model, lost, prompt, usage, now_us)
        return Finding(culprit, path, before, after, lost, cost, warmed.call_id)

    def _cost(self, model: str, lost: int, prompt: int, usage: Usage, now_us: int) -> int:
        card = self._rates.card(model)
        rate = card.rate(prompt, now_us, fast=usage.speed == "fast") if card is not None else None
        if rate is None:
            return 0
        hour = min(lost, usage.cache_write_1h_tokens)
        five = min(lost - hour, usage.cache_write_5m_tokens)
        paid = hour * rate[3] + five * rate[2] + (lost - hour - five) * rate[0]
        return (paid - lost * rate[4]) // PICODOLLARS_PER_NANODOLLAR

    def _keep(self, key: str, call: Call, layout: Layout, tokens: int, ttl_us: int, now_us: int) -> None:
        size = layout.end.until_bytes
        if size > self._most // 8:
            return
        of_key = self._keys.setdefault(key, deque())
        self._keys.move_to_end(key)
        again = next(
            (one for one in of_key if one.blocks[-1].hash == layout.end.hash and one.model == call.model), None
        )
        if again is not None:
            ttl_us = max(ttl_us, again.ttl_us if now_us - again.at_us <= again.ttl_us else 0)
            of_key.remove(again)
            self._bytes -= again.size
        elif of_key and ttl_us < of_key[-1].ttl_us and tokens >= of_key[-1].tokens:
            ttl_us = of_key[-1].ttl_us  # it went on reading what was written for an hour
        settings = {name: call.fields[name] for name in _SETTINGS if name in call.fields}
        of_key.append(_Warmed(call.request_id, now_us, call.model, layout.blocks, settings, tokens, ttl_us, size))
        self._bytes += size
        if len(of_key) > _KEPT_EACH:
            self._bytes -= of_key.popleft().size
        while self._bytes > self._most or len(self._keys) > _KEYS:
            oldest = next(iter(self._keys.values()))
            self._bytes -= oldest.popleft().size
            if not oldest:
                self._keys.popitem(last=False)


def _shared(warmed: _Warmed, layout: Layout) -> float:
    """How much of the older request is somewhere in the newer one."""
    there = {block.raw for block in layout.blocks}
    total = same = 0
    for block in warmed.blocks:
        total += len(block.raw)
        if block.raw in there:
            same += len(block.raw)
    # A block that changed a little is as good as the same: a clock in a long system prompt.
    for place, block in enumerate(warmed.blocks):
        if block.place.member == "system" and block.raw not in there and place < len(layout.blocks):
            newer = layout.blocks[place].raw
            if abs(len(newer) - len(block.raw)) < 100 and newer[-200:] == block.raw[-200:]:
                same += len(block.raw)
    return same / total if total else 0.0


_Difference = tuple[str, str, str, str]


def _compare(warmed: _Warmed, call: Call, layout: Layout) -> _Difference | None:
    """(culprit, path, before, after); `evicted` where nothing differs; `None` where they are two conversations."""
    if warmed.model != call.model:
        return "model_changed", "model", warmed.model, call.model
    for member, compare in (("tools", _tools), ("system", _system)):
        older, newer = _of(warmed.blocks, member), _of(layout.blocks, member)
        if [block.raw for block in older] != [block.raw for block in newer]:
            return compare(older, newer)
    for name in _SETTINGS:
        before, after = warmed.settings.get(name, b""), call.fields.get(name, b"")
        if before != after:
            return "settings_changed", name, *_excerpts(before, after)
    return _messages(_of(warmed.blocks, "messages"), _of(layout.blocks, "messages"))


def _of(blocks: list[Block], member: str) -> list[Block]:
    return [block for block in blocks if block.place.member == member]


def _tools(older: list[Block], newer: list[Block]) -> _Difference:
    place = _first_difference(older, newer)
    same = sorted(block.raw for block in older) == sorted(block.raw for block in newer)
    before, after = _at(older, place), _at(newer, place)
    return ("tools_reordered" if same else "tools_changed"), f"tools.{place}", *_excerpts(before, after)


def _system(older: list[Block], newer: list[Block]) -> _Difference:
    place = _first_difference(older, newer)
    block = (newer or older)[min(place, len(newer or older) - 1)]
    return "system_changed", block.place.path(), *_excerpts(_at(older, place), _at(newer, place))


def _messages(older: list[Block], newer: list[Block]) -> _Difference | None:
    place = _first_difference(older, newer)
    if place >= len(older):
        return "evicted", "", "", ""
    later = {block.raw for block in newer[place + 1 :]}
    if len(older) > place + 1 and any(block.raw in later for block in older[place + 1 :]):
        block = newer[min(place, len(newer) - 1)]
        return "history_changed", block.place.path(), *_excerpts(_at(older, place), _at(newer, place))
    return None


def _first_difference(older: list[Block], newer: list[Block]) -> int:
    pairs = zip(older, newer, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a.raw != b.raw), min(len(older), len(newer)))


def _at(blocks: list[Block], place: int) -> bytes:
    return blocks[place].raw if place < len(blocks) else b""


def _excerpts(before: bytes, after: bytes) -> tuple[str, str]:
    """A few bytes around the first difference."""
    low, high = 0, min(len(before), len(after))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if before[:middle] == after[:middle] else (low, middle - 1)
    start = max(0, low - _BEFORE)
    old, new = (text[start : low + _AFTER].decode("utf-8", "replace").replace("\0", "�") for text in (before, after))
    return old, new
