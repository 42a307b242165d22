"""What a turn has cost: the calls that began while it ran."""

from __future__ import annotations

from typing import Any

from freehold.console.turns import turns

EVENTS = [
    {"type": "user.message", "id": "e0", "processed_at": "2026-01-01T10:00:00Z"},
    {"type": "session.status_running", "id": "e1", "processed_at": "2026-01-01T10:00:01Z"},
    {"type": "session.status_idle", "id": "e2", "processed_at": "2026-01-01T10:00:09Z"},
    {"type": "session.status_running", "id": "e3", "processed_at": "2026-01-01T10:05:00Z"},
]


def call(at: str, cost: int | None = 5) -> dict[str, Any]:
    tokens = {"input_tokens": 3, "cache_read_tokens": 2, "cache_write_5m_tokens": None, "output_tokens": 1}
    return {"started_at": f"2026-01-01T{at}Z", "cost_nanodollars": cost, **tokens}


def test_a_call_belongs_to_the_turn_in_which_it_began() -> None:
    calls = [call("10:06:00"), call("10:05:00.5"), call("10:00:03", None), call("09:59:00")]
    second, first = turns(EVENTS, calls, more=False)
    assert (second.event_id, second.calls, second.cost_nanodollars, second.tokens) == ("e3", 2, 10, 12)
    assert (first.event_id, first.calls, first.cost_nanodollars) == ("e1", 1, 0)


def test_a_turn_whose_calls_are_not_all_known_is_left_out() -> None:
    [only] = turns(EVENTS, [call("10:06:00"), call("10:04:59")], more=True)
    assert only.event_id == "e3"
    assert turns([], [], more=False) == []
