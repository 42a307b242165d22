"""What each turn of a session has cost: the calls that began while it ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.clock import parse_rfc3339

_TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens")


@dataclass(slots=True)
class Turn:
    """From one start of the agent to the next."""

    event_id: str
    at: str
    calls: int = 0
    tokens: int = 0
    cost_nanodollars: int = 0


def turns(events: Sequence[Mapping[str, Any]], calls: Sequence[Mapping[str, Any]], *, more: bool) -> list[Turn]:
    """The turns that begin within these events (oldest first), newest first. `more`: there are older calls than these,
    so turns that began before the oldest of them are left out.
    """
    starts = [event for event in events if event["type"] == "session.status_running"]
    found = [(parse_rfc3339(str(event["processed_at"])), Turn(event["id"], event["processed_at"])) for event in starts]
    oldest_us = min((parse_rfc3339(call["started_at"]) for call in calls), default=0)
    for call in calls:
        began_us = parse_rfc3339(call["started_at"])
        turn = next((turn for start_us, turn in reversed(found) if start_us <= began_us), None)
        if turn is not None:
            turn.calls += 1
            turn.tokens += sum(call.get(name) or 0 for name in _TOKENS)
            turn.cost_nanodollars += call["cost_nanodollars"] or 0
    return [turn for start_us, turn in reversed(found) if not more or start_us >= oldest_us]
