"""What `doctor` is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from freehold.environments import probe
from freehold.environments.base import Box, BoxFailed, BoxSpec
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.command import Fittings
from freehold.environments.examining import overlays
from freehold.environments.limits import ProcessLimits
from freehold.environments.local import Local


async def test_a_real_box_is_found_isolated_with_every_wall(walled: Bubblewrap) -> None:
    found = await walled.probe()
    assert found.isolated, probe.summary(found)
    walls = {protection.name for protection in found.protections if protection.present}
    assert {"namespaces", "no network", "seccomp filter", "no capabilities", "sealed supervisor"} <= walls
    assert "bubblewrap: isolated" in probe.summary(found)


async def test_a_doctor_sees_the_version_and_that_a_layer_can_be_laid_over_the_system(walled: Bubblewrap) -> None:
    version, laid = await walled.examine()
    assert version.present and version.detail.startswith("bubblewrap 0.")
    assert laid.present, laid.detail


async def test_a_doctor_tells_why_no_layer_can_be_laid_over(tmp_path: Path) -> None:
    async def refused(spec: BoxSpec, fitted: Fittings) -> Box:
        raise BoxFailed("mount: unknown filesystem type 'overlay'")

    found = await overlays(refused, tmp_path)
    assert not found.present and "unknown filesystem" in found.detail and "5.11" in found.remedy
    assert os.listdir(tmp_path) == []


async def test_no_walls_are_found_where_there_are_none() -> None:
    local = Local(unsafe_no_isolation=True)
    found = await local.probe()
    await local.close()
    assert not found.isolated
    assert "NOT ISOLATED" in probe.summary(found)


def test_a_wall_that_is_missing_is_seen() -> None:
    good = {
        **{f"ns_{name}": f"{name}:[1]" for name in ("user", "pid", "net", "mnt", "ipc", "uts")},
        "interfaces": "lo",
        "Seccomp": "2",
        "NoNewPrivs": "1",
        "CapEff": "0000000000000000",
        "first": "0 0",
        "root": "fixed",
    }
    assert all(protection.present for protection in probe.isolation(good))
    for name, bad in {"interfaces": "loeth0", "Seccomp": "0", "CapEff": "00ff", "first": "12 0", "ns_net": ""}.items():
        assert not all(protection.present for protection in probe.isolation({**good, name: bad})), name
    assert not all(protection.present for protection in probe.isolation({}))


def test_bounds_that_are_missing_come_with_a_remedy(tmp_path: Path) -> None:
    missing = [protection for protection in probe.limits(ProcessLimits(), tmp_path) if not protection.present]
    assert all("delegate" in protection.remedy for protection in missing if protection.name != "limit: disk")


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("bwrap: setting up uid map: Permission denied", "apparmor_restrict_unprivileged_userns"),
        ("bwrap: No permissions to create new namespace, likely", "unprivileged_userns_clone"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "systempaths=unconfined"),
    ],
)
def test_what_bubblewrap_says_is_explained(words: str, remedy: str) -> None:
    assert remedy in probe.explained(words)
    assert words in probe.explained(words)
