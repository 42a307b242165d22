"""kill -9 inside a compaction, in a stop by the budget, and while a session waits for a person; then a start."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.theatre import HELLO, ROUNDS, Theatre, open_theatre, stream
from tests.databases import slice_on
from tests.scripted_upstream import Line, Request

LONG_TOKENS = 170_000
"""Of a window of 200,000, so that a summary is due; and 17 cents."""


async def forgetful(request: Request, line: Line) -> None:
    """The model of the theatre for conversations that lose their beginning: where it is stands in ids and summaries."""
    body = request.json()
    told = json.dumps(body["messages"])
    done = [int(number) for number in re.findall(r"(?:toolu_|rounds: )(\d)", told)]
    rounds = max(done) + 1 if done else 0
    content: list[dict[str, Any]] = [{"type": "text", "text": f"round {rounds}"}]
    if "tool_choice" in body:
        content = [{"type": "text", "text": f"rounds: {rounds - 1}"}]
    elif rounds < len(ROUNDS):
        content += [
            {"type": "tool_use", "id": f"toolu_{rounds}_{place}", "name": name, "input": given}
            for place, (name, given) in enumerate(ROUNDS[rounds])
        ]
    long = len(body["messages"]) >= 3 and "rounds: " not in told
    await stream(line, body["model"], content, LONG_TOKENS if long else 10)


def compactions(events: list[Any]) -> int:
    return sum(event.type == "agent.thread_context_compacted" for event in events)


@slice_on("postgresql")
@pytest.mark.parametrize(
    ("point", "hit"),
    [
        ("before_compaction", 1),
        pytest.param("after_compaction", 1, marks=pytest.mark.soak),
        pytest.param("after_span_start", 3, marks=pytest.mark.soak),
        pytest.param("streaming", 24, marks=pytest.mark.soak),
    ],
)
async def test_a_kill_inside_a_compaction_loses_nothing(
    point: str, hit: int, database_url: str, tmp_path: Path
) -> None:
    async with open_theatre(tmp_path, database_url, forgetful) as theatre:
        await theatre.start(f"{point}:{hit}")
        session = await theatre.session()
        ended = await _played(theatre, session)
        assert compactions(ended) == 1
        assert await theatre.broken_rules(session) == []


@slice_on("sqlite")
async def test_a_kill_in_a_stop_by_the_budget_leaves_a_session_that_goes_on_when_it_is_raised(
    database_url: str, tmp_path: Path
) -> None:
    async with open_theatre(tmp_path, database_url, forgetful) as theatre:
        await theatre.start("before_idle:2")  # the first is the wait for a confirmation
        (session,) = await theatre.sessions(1, budget=_cents(10))
        events = await _played(theatre, session)
        assert events[-1].stop_reason.type == "budget_reached"
        raised = await theatre.client().beta.sessions.update(session, budget=_cents(1000))
        assert raised.status == "running"
        assert await theatre.play(session) is not None
        assert await theatre.broken_rules(session) == []


@slice_on("postgresql")
async def test_a_session_waits_for_a_person_across_a_kill(database_url: str, tmp_path: Path) -> None:
    async with open_theatre(tmp_path, database_url) as theatre:
        await theatre.start("after_idle:1")
        session = await theatre.session()
        await _played(theatre, session)
        assert await theatre.broken_rules(session) == []


async def _played(theatre: Theatre, session: str) -> list[Any]:
    """Send, let the server die where it is armed, start it again, and play to the end."""
    await theatre.client().beta.sessions.events.send(session, events=[HELLO])
    ended = await theatre.play(session)
    if ended is None:
        await theatre.kill()
        await theatre.start()
        ended = await theatre.play(session)
        assert ended is not None, theatre.server.output
        return ended
    raise AssertionError("the server was to die")


def _cents(amount: int) -> Any:
    return {"type": "limit", "max_list_cost": {"amount": str(amount), "currency": "USD"}}
