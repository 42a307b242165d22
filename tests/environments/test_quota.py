"""Quotas of users. Only a file system that keeps them can show them: one is made here, where the kernel can do that."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.environments import quota
from freehold.environments.base import Limits
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.launcher import find_program
from freehold.environments.limits import best_limiter
from freehold.environments.snapshots import Snapshots
from freehold.environments.users import user_of
from freehold.environments.workdirs import Workdir
from tests.environments.live import agent, spec, text

MAKERS = {
    "ext4": ("mkfs.ext4", "-q", "-O", "quota", "-E", "quotatype=usrquota"),
    "xfs": ("mkfs.xfs", "-q"),
}


@pytest.fixture(params=MAKERS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 MB that holds users to their quotas."""
    name, *options = MAKERS[request.param]
    maker = find_program(name)
    if os.geteuid() != 0 or maker is None:
        pytest.skip(f"only root may mount one, and it takes {name}")
    image, folder = tmp_path / "image", tmp_path / "kept"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(512 << 20)
    subprocess.run([maker, *options, str(image)], check=True)
    mount = ["mount", "-t", request.param, "-o", "loop,usrquota", str(image), str(folder)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode or not quota.kept(folder):
        subprocess.run(["umount", str(folder)], capture_output=True, check=False)
        pytest.skip(f"this kernel keeps no quotas on {request.param}: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_where_no_quotas_are_kept_nobody_is_held(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "none", str(small)], check=False).returncode == 0:
        assert not quota.kept(small)
        workdir = Workdir(small / "sesn_1")
        workdir.prepare(None)
        assert not quota.hold(workdir, 1 << 20)
        subprocess.run(["umount", str(small)], check=True)
    assert not quota.kept(small / "missing")


async def test_a_write_beyond_the_quota_fails_at_once_and_the_box_goes_on(kept: Path) -> None:
    boxes = Bubblewrap(kept / "boxes", limiter=best_limiter())
    try:
        wanted = spec(kept / "boxes", limits=Limits(disk_bytes=32 << 20))
        inmate = await agent(boxes, wanted)
        outcome = await inmate.call("bash", command="for n in 1 2 3 4; do head -c 15000000 /dev/zero > f$n; done")
        assert "Disk quota exceeded" in text(outcome)
        assert (await inmate.call("write", file_path="more", content="x" * 5_000_000)).is_error
        many = await inmate.call("bash", command="rm f*; for n in $(seq 1 20000); do : > e$n; done 2>&1 | tail -1")
        assert "Disk quota exceeded" in text(many)
        assert await inmate.bash("rm -f e* && echo room > a && cat a") == "room"
        workdir = Workdir(wanted.workdir)
        assert workdir.meta()["disk"] == "quota"
        await inmate.bash("head -c 25000000 /dev/urandom > big")
        await Snapshots(boxes).take(workdir, "at-1")
        await inmate.box.close()
        await Snapshots(boxes).restore(workdir, "at-1", workdir)
        assert (workdir.workspace / "big").stat().st_size == 25_000_000
        assert (workdir.workspace / "big").stat().st_uid == user_of(workdir)
        again = await agent(boxes, spec(kept / "boxes", limits=Limits(disk_bytes=32 << 20)))
        assert "Disk quota exceeded" in text(await again.call("bash", command="head -c 25000000 /dev/zero > more"))
    finally:
        await boxes.close()
