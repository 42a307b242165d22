"""The kinds of boxes that the tests know. One more kind is one more row: conformance and abuse then run against it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from freehold.environments.base import Boxes
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.containers.containers import Containers
from freehold.environments.containers.daemon import Daemon
from freehold.environments.launcher import find_program
from freehold.environments.limits import ProcessLimits, best_limiter
from freehold.environments.local import Local


@dataclass(frozen=True, slots=True)
class Backend:
    """How to make one. `root`: where its workdirs lie."""

    name: str
    isolated: bool
    make: Callable[[Path, pytest.FixtureRequest], Boxes]
    missing: Callable[[], str] = lambda: ""
    """What it lacks on this machine; empty: it runs here."""
    bounded: bool = True
    """The box is bounded as a whole, not each of its processes alone."""
    same_user: bool = True
    """The agent sees itself as 1000, whoever that is on the host. Containers share the host's user namespace."""

    def boxes(self, root: Path, request: pytest.FixtureRequest) -> Boxes:
        """Boxes of this kind. Skips where it does not run, except in CI (variable `CI`), where that is a failure."""
        lacks = self.missing()
        if lacks and not os.environ.get("CI"):
            pytest.skip(f"{self.name}: {lacks}")
        return self.make(root, request)


def no_bubblewrap() -> str:
    return "" if find_program("bwrap") is not None else "bubblewrap is not installed"


def no_podman() -> str:
    if os.geteuid() != 0:
        return "the tests of containers run as root"
    return "" if find_program("podman") and find_program("runc") else "podman and runc are not installed"


BUBBLEWRAP = Backend("bubblewrap", True, lambda root, _: Bubblewrap(root, limiter=best_limiter()), no_bubblewrap)
WITHOUT_GROUPS = Backend(
    "bubblewrap without control groups",
    True,
    lambda root, _: Bubblewrap(root, limiter=ProcessLimits()),
    no_bubblewrap,
    bounded=False,
)
"""As it runs where the server may make no control groups: what needs none must be stopped all the same."""
LOCAL = Backend("local", False, lambda root, _: Local(unsafe_no_isolation=True))
PODMAN = Backend(
    "podman",
    True,
    lambda root, request: Containers(root, Daemon(request.getfixturevalue("podman")), Bubblewrap(root, warm=0)),
    lambda: no_bubblewrap() or no_podman(),
    same_user=False,
)
"""A third of a second each, so all of its tests run in the soak only."""

IN_PODMAN = pytest.param(PODMAN, marks=pytest.mark.soak)
KINDS = (BUBBLEWRAP, LOCAL, IN_PODMAN)
"""Each of another make."""
WALLED = (BUBBLEWRAP, IN_PODMAN)
"""Those that claim to isolate."""
WALLED_IN_EVERY_WAY = (*WALLED, WITHOUT_GROUPS)
"""For what depends on how boxes are bounded."""


def name_of(kind: Backend) -> str:
    """For the ids of tests."""
    return kind.name
