"""Which boxes are used where running without walls was allowed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from freehold.environments.base import Boxes, BoxSpec
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.fallback import Fallback
from freehold.environments.local import Local
from tests.environments.conftest import require_bubblewrap
from tests.environments.live import spec

OWN = str(Path("/proc/self/ns/pid").readlink())


async def processes_of(boxes: Boxes, wanted: BoxSpec) -> str:
    """Which namespace of processes a command of that box sees."""
    box = await boxes.open(wanted)
    outcome = await box.call("bash", {"command": "readlink /proc/self/ns/pid"}, key="1", epoch=1)
    return str(outcome.content[0]["text"]).strip()


async def test_walls_are_used_where_they_can_be_had_although_doing_without_was_allowed(root: Path) -> None:
    require_bubblewrap()
    boxes = Fallback(Bubblewrap(root), Local(unsafe_no_isolation=True))
    assert (await boxes.probe()).isolated
    assert await processes_of(boxes, spec(root)) != OWN
    await boxes.close()


async def test_without_walls_it_runs_all_the_same_and_says_so(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    boxes = Fallback(Local(unsafe_no_isolation=False), Local(unsafe_no_isolation=True))
    with caplog.at_level(logging.WARNING):
        found = await boxes.probe()
    assert not found.isolated and found.backend == "local"
    assert "WITHOUT ISOLATION" in caplog.text and "does not isolate" in caplog.text
    assert await processes_of(boxes, spec(root)) == OWN
    await boxes.close()
