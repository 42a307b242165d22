"""kill -9 at named points of the real code, then a start: no session stuck, no event lost, no tool twice in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.theatre import HELLO, open_theatre
from tests.databases import KINDS

POINTS = (
    "after_acquire",
    "after_span_start",
    "streaming",
    "before_reply",
    "after_reply",
    "after_started",
    "in_tool",
    "before_result",
    "after_result",
    "before_idle",
    "after_idle",
)
SLICE = {
    ("after_reply", 1, "postgresql"),
    ("in_tool", 2, "sqlite"),
    ("before_result", 1, "postgresql"),
    ("after_started", 3, "sqlite"),
    ("streaming", 3, "postgresql"),
}
"""What `make test` plays; `make soak` plays all points on both databases, each at its first, second and third hit."""


def _all() -> list[object]:
    return [
        pytest.param(point, hit, kind, marks=() if (point, hit, kind) in SLICE else (pytest.mark.soak,))
        for kind in KINDS
        for point in POINTS
        for hit in (1, 2, 3)
    ]


@pytest.mark.parametrize(("point", "hit", "database_kind"), _all())
async def test_after_a_kill_the_session_goes_on_by_the_rules(
    point: str, hit: int, database_kind: str, database_url: str, tmp_path: Path
) -> None:
    async with open_theatre(tmp_path, database_url) as theatre:
        await theatre.start(f"{point}:{hit}")
        session = await theatre.session()
        await theatre.client().beta.sessions.events.send(session, events=[HELLO])
        ended = await theatre.play(session)
        if ended is None:
            await theatre.kill()
            await theatre.start()
            ended = await theatre.play(session)
        assert ended is not None, theatre.server.output
        assert await theatre.broken_rules(session) == []
