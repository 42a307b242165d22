"""The options of a box, looked at as values."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.environments.base import Limits
from freehold.environments.command import Layout, Mount, command, environment, options
from freehold.environments.rootfs import Base

BASE = Base("host", ((Path("/usr"), "/usr"),), (("usr/bin", "/bin"),), "/usr/bin/python3", "host")


def words(limits: Limits | None = None) -> list[str]:
    mounts = (
        Mount(Path("/s/workspace"), "/workspace", writable=True),
        Mount(Path("/s/uploads"), "/mnt/session/uploads"),
    )
    return options(Layout(BASE, mounts, limits or Limits(), "/workspace")).decode().rstrip("\0").split("\0")


@pytest.mark.parametrize(
    "option",
    [
        *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *("--as-pid-1", "--die-with-parent", "--new-session", "--clearenv"),
    ],
)
def test_no_wall_is_left_out(option: str) -> None:
    assert option in words()


def test_the_hosts_network_is_never_shared_and_nothing_but_the_session_is_writable() -> None:
    said = words()
    assert "--share-net" not in said
    writable = [said[place + 2] for place, word in enumerate(said) if word in ("--bind", "--dev-bind")]
    assert writable == ["/workspace"]
    assert said[said.index("/s/uploads") - 1] == "--ro-bind"


def test_the_root_is_closed_after_everything_is_mounted() -> None:
    said = words()
    place = max(place for place, word in enumerate(said) if word == "--remount-ro")
    assert said[place + 1] == "/"
    assert not {"--bind", "--ro-bind", "--tmpfs"} & set(said[place:])


@pytest.mark.parametrize("memory", [64 << 20, 256 << 20, 1 << 30])
def test_folders_in_memory_stay_below_half_of_the_limit(memory: int) -> None:
    said = words(Limits(memory_bytes=memory))
    sizes = [int(said[place + 1]) for place, word in enumerate(said) if word == "--size"]
    assert len(sizes) == 3
    assert sum(sizes) <= memory / 2


def test_the_user_is_dropped_before_bubblewrap_begins() -> None:
    said = command("/usr/bin/bwrap", "/usr/bin/setpriv", 1_900_000_000, ["python3"])
    assert said[: said.index("/usr/bin/bwrap")] == [
        *("/usr/bin/setpriv", "--reuid=1900000000", "--regid=1900000000", "--clear-groups", "--no-new-privs"),
    ]
    assert command("/usr/bin/bwrap", "/usr/bin/setpriv", None, ["python3"])[0] == "/usr/bin/bwrap"


def test_no_path_of_the_host_is_on_the_command_line() -> None:
    assert not [word for word in command("bwrap", None, None, ["python3"]) if word.startswith("/")]


def test_the_environment_is_made_and_not_inherited() -> None:
    assert set(environment({"X": "y"})) == {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "TMPDIR", "X"),
    }


def test_only_a_chore_has_power_over_the_sessions_files_and_it_is_bounded() -> None:
    assert words()[words().index("--uid") + 1] == "1000"
    assert "--cap-add" not in words()
    said = options(Layout(BASE, (), Limits(), "/", owner=True)).decode().split("\0")
    added = {said[place + 1] for place, word in enumerate(said) if word == "--cap-add"}
    assert added == {"CAP_DAC_OVERRIDE", "CAP_FOWNER"}
    assert said.index("--cap-drop") < said.index("--cap-add")
