"""The prefix cache: which part of a prompt is read, which is written, and for how long it stays.

Rules of the Claude API docs, page "Prompt caching", read 2026-11-23, named beside each step. Times are microseconds and
come from the caller. Memory is bounded: the entry used longest ago goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from freehold.errors import InvalidRequest
from freehold.simulator.model.prompt import Prompt
from freehold.simulator.model.request import Request

LOOK_BACK = 20
"""Positions searched from each breakpoint, the breakpoint itself being the first."""
_TTL_US = {"5m": 300_000_000, "1h": 3_600_000_000}
_Key = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """A position up to which the prompt is to be kept, and for how long."""

    index: int
    ttl: str


@dataclass(slots=True)
class _Entry:
    ttl_us: int
    expires_us: int
    visible_us: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What caching does for one request, in tokens. `uncached` is what `usage.input_tokens` shows."""

    read: int
    write_5m: int
    write_1h: int
    uncached: int
    touched: tuple[tuple[_Key, int], ...] = ()
    """Entries that the request reads or writes, with their time to live."""


def breakpoints(request: Request, prompt: Prompt) -> Sequence[Breakpoint]:
    """The explicit breakpoints in the order of the prompt, and the automatic one.

    Raises:
        InvalidRequest: the last block has a breakpoint of its own with another time to live.
    """
    found = [
        Breakpoint(index, position.marker.get("ttl") or "5m")
        for index, position in enumerate(prompt.positions)
        if position.marker and position.eligible
    ]
    if not request.cache_control:
        return found
    ttl = request.cache_control.get("ttl") or "5m"
    index = next((at for at in range(len(prompt.positions) - 1, -1, -1) if prompt.positions[at].eligible), None)
    if index is None:
        return found
    explicit = next((one for one in found if one.index == index), None)
    if explicit and explicit.ttl != ttl:
        raise InvalidRequest(
            f"cache_control: automatic caching has ttl {ttl!r}, but {prompt.positions[index].path} has a breakpoint "
            f"with ttl {explicit.ttl!r}"
        )
    if ttl == "1h" and any(one.ttl == "5m" for one in found):
        raise InvalidRequest("cache_control.ttl: a ttl='1h' breakpoint must not come after a ttl='5m' one")
    return found if explicit else [*found, Breakpoint(index, ttl)]


class PrefixCache:
    """All cached prefixes of one simulated Claude, kept apart by workspace (the model is part of the digest)."""

    def __init__(self, most_entries: int = 100_000) -> None:
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._most = most_entries

    def __len__(self) -> int:
        return len(self._entries)

    def plan(self, scope: str, prompt: Prompt, points: Sequence[Breakpoint], minimum: int, now_us: int) -> Plan:
        """What would be read and written now. Changes nothing: `commit` does, once the reply has begun."""
        positions = prompt.positions
        # Under the model's minimum nothing is cached, and nothing is said about it.
        long_enough = [point for point in points if positions[point.index].total >= minimum]
        hit = self._highest_hit(scope, prompt, long_enough, now_us)
        read = positions[hit].total if hit is not None else 0
        until_1h = max((positions[p.index].total for p in long_enough if p.ttl == "1h"), default=0)
        until_5m = max((positions[p.index].total for p in long_enough), default=0)
        write_1h = max(0, until_1h - read)
        write_5m = max(0, until_5m - max(read, until_1h))
        touched = {(scope, positions[point.index].digest): _TTL_US[point.ttl] for point in long_enough}
        if hit is not None:
            key = (scope, positions[hit].digest)
            touched[key] = self._entries[key].ttl_us  # a read refreshes the entry for its own time to live
        uncached = prompt.tokens - max(read, until_1h, until_5m)
        return Plan(read, write_5m, write_1h, uncached, tuple(touched.items()))

    def _highest_hit(self, scope: str, prompt: Prompt, points: Sequence[Breakpoint], now_us: int) -> int | None:
        for point in sorted(points, key=lambda one: one.index, reverse=True):
            for index in range(point.index, max(-1, point.index - LOOK_BACK), -1):
                entry = self._entries.get((scope, prompt.positions[index].digest))
                if entry and entry.visible_us <= now_us < entry.expires_us:
                    return index
        return None

    def commit(self, plan: Plan, started_us: int, begun_us: int) -> None:
        """Keep what the plan writes and refresh what it read.

        Time to live counts from the start of the request; others see the entries from when the reply began.
        """
        for key, ttl_us in plan.touched:
            entry = self._entries.get(key)
            if entry is not None and entry.expires_us > started_us:
                entry.ttl_us = max(entry.ttl_us, ttl_us)
                entry.expires_us = max(entry.expires_us, started_us + ttl_us)
            else:
                self._entries[key] = _Entry(ttl_us, started_us + ttl_us, begun_us)
            self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything, as after a long pause."""
        self._entries.clear()
