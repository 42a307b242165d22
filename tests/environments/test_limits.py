"""Control groups: v1 for real where it is there, v2 against folders of plain files, and the choice between them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from freehold.environments import limits
from freehold.environments.base import Limits
from freehold.environments.limits import CgroupV1, CgroupV2, ProcessLimits, best_limiter, group_of, remedy
from tests.environments.live import until

SOME = Limits(memory_bytes=128 << 20, processes=64, cpu_cores=0.5)


def test_a_v2_group_writes_each_limit_in_its_file(tmp_path: Path) -> None:
    limiter = CgroupV2(tmp_path, frozenset({"memory", "processes", "cpu", "freeze"}))
    group = limiter.group("sesn_1", SOME)
    folder = tmp_path / "freehold-box-sesn_1"
    group.add(4711)
    assert (folder / "memory.max").read_text() == str(128 << 20)
    assert (folder / "memory.swap.max").read_text() == "0"
    assert (folder / "pids.max").read_text() == "80"
    assert (folder / "cpu.max").read_text() == "50000 100000"
    assert (folder / "cgroup.procs").read_text() == "4711"
    assert group.freeze()
    assert (folder / "cgroup.freeze").read_text() == "1"
    group.thaw()
    assert (folder / "cgroup.freeze").read_text() == "0"
    assert group.killed_for_memory() == 0
    (folder / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert group.killed_for_memory() == 2


def test_a_delegated_v2_tree_is_divided_and_the_server_moves_aside(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids io\n")
    (tmp_path / "cgroup.procs").write_text("1\n2\n")
    mountinfo = f"30 23 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n"
    for folder in (tmp_path / "freehold-server",):
        folder.mkdir()
        (folder / "cgroup.procs").write_text("")
    limiter = best_limiter(mountinfo, "0::/\n")
    assert limiter.name == "cgroup v2"
    assert limiter.controls == {"memory", "processes", "cpu", "freeze"}
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (tmp_path / "freehold-server" / "cgroup.procs").read_text() == "2"
    assert remedy(limiter) == ""
    inside = best_limiter(mountinfo, "0::/freehold-server\n")
    inside.group("sesn_1", SOME)
    assert (tmp_path / "freehold-box-sesn_1").exists(), "who looks again stands no deeper"
    assert not (tmp_path / "freehold-server" / "freehold-server").exists()


def test_a_v2_tree_without_memory_is_not_taken_for_a_limit(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("hugetlb\n")
    limiter = best_limiter(f"30 23 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n", "0::/\n")
    assert limiter.name == "rlimits"
    assert "delegate" in remedy(limiter)


def test_v1_groups_stand_below_where_the_server_stands(tmp_path: Path) -> None:
    for name in ("memory", "pids"):
        (tmp_path / name / "inner").mkdir(parents=True)
    mountinfo = (
        f"31 30 0:27 /docker/x {tmp_path}/memory rw - cgroup cgroup rw,memory\n"
        f"32 30 0:28 / {tmp_path}/pids rw - cgroup cgroup rw,pids\n"
    )
    limiter = best_limiter(mountinfo, "4:memory:/docker/x/inner\n3:pids:/inner\n0::/\n")
    assert limiter.name == "cgroup v1"
    assert limiter.controls == {"memory", "processes"}
    limiter.group("sesn_1", SOME)
    written = tmp_path / "memory/inner/freehold-box-sesn_1/memory.limit_in_bytes"
    assert written.read_text() == str(128 << 20)


def test_what_a_killed_server_left_is_taken_away_and_what_is_in_use_is_not(
    real: CgroupV1, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = f"freehold-test-{time.monotonic_ns()}-"
    monkeypatch.setattr(limits, "_PREFIX", prefix)
    used, empty = ([root / f"{prefix}{name}" for root in real._roots.values()] for name in ("used", "empty"))
    group = real.group("used", SOME)
    real.group("empty", SOME)
    with subprocess.Popen(["sleep", "60"]) as process:
        group.add(process.pid)
        real.sweep()
        assert all(folder.exists() for folder in empty)
        monkeypatch.setattr(limits, "_YOUNG_S", -60.0)
        real.sweep()
        assert not any(folder.exists() for folder in empty)
        assert all(folder.exists() for folder in used)
        process.kill()
    group.remove()


def test_a_box_that_a_killed_server_left_standing_still_can_end(
    real: CgroupV1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_PREFIX", f"freehold-test-{time.monotonic_ns()}-")
    group = real.group("frozen", SOME)
    with subprocess.Popen(["sleep", "60"]) as process:
        group.add(process.pid)
        group.freeze()
        process.kill()
        until(lambda: _state(process.pid) == "D")
        real.sweep()
        assert process.wait(60) == -9
    group.remove()


def test_what_a_daemon_has_put_into_a_group_can_be_frozen_and_the_server_itself_is_not(real: CgroupV1) -> None:
    group = real.group(f"test-{time.monotonic_ns()}", SOME)
    with subprocess.Popen(["sleep", "60"]) as process:
        assert not group_of(process.pid).freeze()
        group.add(process.pid)
        assert group_of(process.pid).freeze()
        until(lambda: _state(process.pid) == "D")
        group_of(process.pid).thaw()
        until(lambda: _state(process.pid) == "S")
        process.kill()
    group.remove()


def test_without_control_groups_there_are_limits_per_process_only() -> None:
    limiter = best_limiter("", "")
    assert isinstance(limiter, ProcessLimits)
    assert not limiter.group("x", SOME).freeze()


@pytest.fixture
def real() -> CgroupV1:
    limiter = best_limiter()
    if not isinstance(limiter, CgroupV1) or len(limiter.controls) < 4:
        pytest.skip("this machine has no writable cgroup v1")
    return limiter


def test_a_real_v1_group_freezes_thaws_and_goes_away(real: CgroupV1) -> None:
    group = real.group(f"test-{time.monotonic_ns()}", SOME)
    counter = "import sys\nwhile True: sys.stdout.write('x'); sys.stdout.flush()"
    with subprocess.Popen(["python3", "-c", counter], stdout=subprocess.DEVNULL) as process:
        try:
            until(
                lambda: _ticks(process.pid) > 2
            )  # it counts: what waits for a disk, as a start does, looks frozen too
            group.add(process.pid)
            assert group.freeze()
            until(lambda: _state(process.pid) == "D")
            before = _ticks(process.pid)
            subprocess.run(["python3", "-c", "sum(range(3_000_000))"], check=True)  # time passes, on these processors
            assert _ticks(process.pid) == before
            group.thaw()
            until(lambda: _ticks(process.pid) > before)
        finally:
            group.thaw()
            process.kill()
    group.remove()


def _stat(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


def _state(pid: int) -> str:
    return _stat(pid)[0].decode()


def _ticks(pid: int) -> int:
    return int(_stat(pid)[11]) + int(_stat(pid)[12])
