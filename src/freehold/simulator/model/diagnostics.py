"""Why the cache was missed: compares a request with the one that made an earlier message.

Claude API docs, page "Cache diagnostics", read 2026-11-23. Only the earliest difference is told.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from freehold.simulator.model.prompt import Prompt
from freehold.simulator.model.request import Request

_OWN = 8
"""Bytes of a block's own digest."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is kept of a request: digests, and the tokens up to each block."""

    model: str
    tools: bytes
    system: bytes
    messages: bytes
    settings: bytes
    totals: tuple[int, ...]


def fingerprint(request: Request, prompt: Prompt) -> Fingerprint:
    """The fingerprint of a request."""
    tools, system, messages = (
        b"".join(one.own for one in prompt.positions if one.level == level) for level in range(3)
    )
    totals = tuple(one.total for one in prompt.positions)
    return Fingerprint(f"{request.model.id} {request.speed}", tools, system, messages, prompt.settings, totals)


class Diagnoses:
    """Remembers the fingerprints of the latest messages, so many as asked for."""

    def __init__(self, most: int = 10_000) -> None:
        self._known: OrderedDict[tuple[str, str], Fingerprint] = OrderedDict()
        self._most = most

    def remember(self, scope: str, message_id: str, mark: Fingerprint) -> None:
        """Keep the fingerprint of the request that this message answered."""
        self._known[(scope, message_id)] = mark
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def diagnose(self, scope: str, previous_id: str | None, now: Fingerprint) -> dict[str, Any] | None:
        """The reply's `diagnostics`: `None` where nothing diverged or nothing was there to compare with."""
        if previous_id is None:
            return None
        before = self._known.get((scope, previous_id))
        if before is None:
            return {"cache_miss_reason": {"type": "previous_message_not_found"}}
        reason = _reason(before, now)
        return {"cache_miss_reason": reason} if reason else None


def _reason(before: Fingerprint, now: Fingerprint) -> dict[str, Any] | None:
    if before.model != now.model:
        return _missed("model_changed", before, 0)
    if before.tools != now.tools:
        return _missed("tools_changed", before, _common(before.tools, now.tools))
    if before.system != now.system:
        same = len(before.tools) // _OWN + _common(before.system, now.system)
        return _missed("system_changed", before, same)
    if before.settings != now.settings:
        return {"type": "unavailable"}
    if not now.messages.startswith(before.messages):
        same = (len(before.tools) + len(before.system)) // _OWN + _common(before.messages, now.messages)
        return _missed("messages_changed", before, same)
    return None


def _common(before: bytes, now: bytes) -> int:
    number = min(len(before), len(now)) // _OWN
    for index in range(number):
        if before[index * _OWN : (index + 1) * _OWN] != now[index * _OWN : (index + 1) * _OWN]:
            return index
    return number


def _missed(kind: str, before: Fingerprint, same: int) -> dict[str, Any]:
    total = before.totals[-1] if before.totals else 0
    kept = before.totals[same - 1] if 0 < same <= len(before.totals) else 0
    return {"type": kind, "cache_missed_input_tokens": total - kept}
