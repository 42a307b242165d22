"""Boxes for tests: real ones. Where bubblewrap is missing on a laptop these skip; in CI (variable `CI`) they fail."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.environments.base import Boxes
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.limits import best_limiter
from tests.environments.backends import KINDS, name_of, no_bubblewrap
from tests.environments.live import Agent, agent, spec


def require_bubblewrap() -> None:
    if no_bubblewrap() and not os.environ.get("CI"):
        pytest.skip(no_bubblewrap())


@pytest.fixture
async def walled(tmp_path: Path) -> AsyncIterator[Bubblewrap]:
    """Real boxes, under a folder that only this user may enter, as pytest makes them."""
    require_bubblewrap()
    boxes = Bubblewrap(tmp_path / "boxes", limiter=best_limiter())
    yield boxes
    await boxes.close()


@pytest.fixture(params=KINDS, ids=name_of)
async def boxes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Boxes]:
    """Every backend: what is true of one must be true of all."""
    opened = request.param.boxes(tmp_path / "boxes", request)
    yield opened
    await opened.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the workdirs of this test lie."""
    return tmp_path / "boxes"


@pytest.fixture
async def model(boxes: Boxes, root: Path) -> Agent:
    """An agent in a box of every backend."""
    return await agent(boxes, spec(root))


@pytest.fixture
async def inmate(walled: Bubblewrap, root: Path) -> Agent:
    """An agent in a real box."""
    return await agent(walled, spec(root))
