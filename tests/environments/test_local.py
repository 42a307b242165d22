"""The backend without walls, and its refusals."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from freehold.environments.base import BoxFailed, BoxSpec, NoIsolation
from freehold.environments.local import Local
from tests.environments.live import spec


async def test_it_opens_nothing_unless_it_was_allowed(root: Path) -> None:
    local = Local(unsafe_no_isolation=False)
    with pytest.raises(NoIsolation, match="--unsafe-no-isolation"):
        await local.open(spec(root))
    await local.close()


async def test_it_is_loud(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    local = Local(unsafe_no_isolation=True)
    with caplog.at_level(logging.WARNING):
        await local.open(spec(root))
    await local.close()
    assert "WITHOUT ISOLATION" in caplog.text


async def test_packages_are_refused_and_not_ignored(root: Path) -> None:
    local = Local(unsafe_no_isolation=True)
    wanted = BoxSpec("sesn_1", root / "sesn_1", 1, environment={"packages": {"pip": ["x"]}})
    with pytest.raises(BoxFailed, match="installs no packages"):
        await local.open(wanted)
    await local.close()
