"""Boxes for tests: real ones. Where bubblewrap is missing on a laptop these skip; in CI (variable `CI`) they fail."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from freehold.environments.base import Boxes
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.containers.containers import Containers
from freehold.environments.containers.daemon import Daemon
from freehold.environments.limits import best_limiter
from tests.environments.backends import KINDS, no_bubblewrap, no_podman
from tests.environments.live import Agent, agent, spec
from tests.environments.podman import podman_service

IN_PODMAN = pytest.param(None, marks=pytest.mark.soak)


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


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a Podman daemon of the tests' own, with images and containers in a folder of its own."""
    if lacks := no_podman():
        pytest.skip(lacks)
    with podman_service(Path(tempfile.mkdtemp(prefix="fh-"))) as socket:  # podman takes only short paths
        yield socket


def containers(request: pytest.FixtureRequest, root: Path) -> Boxes:
    """Boxes of that daemon; all tests of them only in the soak, as each container takes a third of a second."""
    if "soak" not in str(request.config.getoption("markexpr")):
        pytest.skip("`make soak` runs all; test_containers.py does what matters most")
    return Containers(root, Daemon(request.getfixturevalue("podman")), Bubblewrap(root, warm=0))


@pytest.fixture(params=[*KINDS, IN_PODMAN], ids=lambda kind: kind.name if kind else "podman")
async def boxes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Boxes]:
    """Every backend: what is true of one must be true of all."""
    root = tmp_path / "boxes"
    opened = request.param.boxes(root) if request.param else containers(request, root)
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
