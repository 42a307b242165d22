"""What a box sees of the host."""

from __future__ import annotations

import os
from pathlib import Path

from freehold.environments.rootfs import host_base


def test_the_etc_of_boxes_is_made_here_and_tells_nothing_of_the_host(tmp_path: Path) -> None:
    base = host_base(tmp_path)
    etc = next(source for source, target in base.binds if target == "/etc")
    assert etc.parent == tmp_path
    assert "agent:x:1000:1000" in (etc / "passwd").read_text()
    assert not (etc / "shadow").exists()
    assert "nameserver" not in (etc / "resolv.conf").read_text()
    assert (etc / "hostname").read_text() == "sandbox\n"


def test_the_same_host_gives_the_same_etc_and_everyone_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        first = host_base(tmp_path)
        again = host_base(tmp_path)
    finally:
        os.umask(before)
    assert first == again
    assert [path.name for path in tmp_path.iterdir()] == [first.binds[1][0].name]
    for path in tmp_path.rglob("*"):
        wanted = 0o005 if path.is_dir() else 0o004
        assert path.is_symlink() or path.stat().st_mode & wanted == wanted, path


def test_nothing_else_of_the_host_is_bound(tmp_path: Path) -> None:
    targets = {target for _, target in host_base(tmp_path).binds}
    assert {"/usr", "/etc"} <= targets
    assert not {"/", "/home", "/root", "/var", "/run", "/tmp", "/proc", "/sys", "/dev"} & targets
