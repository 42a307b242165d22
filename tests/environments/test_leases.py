"""One box per workdir, across servers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.environments import leases
from freehold.environments.base import BoxFailed, Fenced
from freehold.environments.workdirs import Workdir


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    return Workdir(tmp_path / "sesn_1")


async def test_a_lease_is_taken_released_and_taken_again(workdir: Workdir) -> None:
    for _ in range(2):
        (await leases.lease(workdir, 1)).release()


async def test_a_second_one_waits_and_gives_up(workdir: Workdir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_PATIENCE_S", 0.1)
    held = await leases.lease(workdir, 1)
    with pytest.raises(BoxFailed, match="another box holds"):
        await leases.lease(workdir, 1)
    held.release()


async def test_an_older_epoch_is_fenced_even_when_nobody_holds_it(workdir: Workdir) -> None:
    held = await leases.lease(workdir, 5)
    held.record(1, 5)
    held.release()
    with pytest.raises(Fenced, match="epoch 5"):
        await leases.lease(workdir, 4)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


async def test_only_the_process_that_was_recorded_is_ended(
    workdir: Workdir, bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_PATIENCE_S", 0.1)
    held = await leases.lease(workdir, 1)
    holder = {"pid": bystander.pid, "started": 12345, "epoch": 1}
    (workdir.path / "holder.json").write_text(json.dumps(holder))
    with pytest.raises(BoxFailed):
        await leases.lease(workdir, 2)
    assert bystander.poll() is None
    held.record(bystander.pid, 1)
    with pytest.raises(BoxFailed):
        await leases.lease(workdir, 2)
    assert bystander.wait(60) == -9
    held.release()
