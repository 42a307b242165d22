"""The exact options of a bubblewrap box, as a value. What each is for stands beside it.

This module starts nothing and touches no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from freehold.environments.base import Limits
from freehold.environments.rootfs import Base

OPTIONS_FD = "{options}"
SECCOMP_FD = "{seccomp}"
INFO_FD = "{info}"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
_OVERLAYS = (
    'while IFS= read -r lower && IFS= read -r at; do mount -t overlay overlay -o "ro,lowerdir=$lower" "$at" || exit 1; '
    'done; exec </dev/null; exec "$@"'
)
"""In namespaces of its own, which the box then inherits."""
_GATE = (
    "read -r user || exit 0; drop=$1; shift; "
    "if IFS= read -r unshare; then "
    f'set -- "$unshare" --user --map-root-user --mount -- /bin/sh -c \'{_OVERLAYS}\' overlays "$@"; '
    "else exec </dev/null; fi; "
    '[ -z "$user" ] || exec "$drop" "--reuid=$user" "--regid=$user" --clear-groups --no-new-privs "$@"; exec "$@"'
)
_RUN_BYTES = 16 << 20
_SHM_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder or socket of the host, and where the box sees it."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Fittings:
    """What an environment adds to a box: mounts, and a folder whose `usr` and `etc` lie over those of the base."""

    mounts: Sequence[Mount] = ()
    over: Path | None = None
    base: Base | None = None
    """What the box stands on, if not on what every box of this server does."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What one box is made of."""

    base: Base
    mounts: Sequence[Mount]
    limits: Limits
    directory: str
    owner: bool = False
    """Root in its own user namespace: may read and write whatever the session's user owns, whatever the modes."""


def options(layout: Layout) -> bytes:
    """All options, each ended by NUL, as `bwrap --args FD` reads them.

    They go through a descriptor because a command line can be read by every user of the host.
    """
    words = [*_namespaces(), *_identity(layout), *_base(layout.base), *_own_folders(layout.limits)]
    words += [*_mounts(layout.mounts), "--remount-ro", "/", "--chdir", layout.directory]
    return b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)


def command(bwrap: str, setpriv: str | None, user: int | None, inside: Sequence[str]) -> list[str]:
    """The command line. `{options}`, `{seccomp}` and `{info}` stand for the numbers of those descriptors."""
    drop: list[str] = []
    if user is not None and setpriv is not None:
        drop = [setpriv, f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"]
    return [*drop, bwrap, "--args", OPTIONS_FD, "--seccomp", SECCOMP_FD, "--info-fd", INFO_FD, "--", *inside]


def begin(bwrap: str, setpriv: str | None, inside: Sequence[str]) -> list[str]:
    """The command line of a box that is not told yet what it is: it waits for the number of its user on a line.

    The line is empty where the server cannot change users. It may be followed by one with the path of `unshare` and
    by two for each overlay: its folders as `lowerdir` has them, and where it goes. Descriptors as in `command`.
    """
    return ["/bin/sh", "-c", _GATE, "begin", setpriv or "", *command(bwrap, None, None, inside)]


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The variables of everything that runs in a box. Nothing of the server's is among them."""
    return {
        "PATH": SYSTEM_PATH,
        "HOME": "/home/agent",
        "USER": "agent",
        "LOGNAME": "agent",
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "TMPDIR": "/tmp",
        **extra,
    }


def _namespaces() -> Iterator[str]:
    yield from ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
    yield "--unshare-net"  # no interface but loopback
    yield "--as-pid-1"  # the supervisor is pid 1: `kill -9 -1` spares it, and no bwrap with an environment is in sight
    yield "--die-with-parent"  # nothing survives the server
    yield "--new-session"  # no terminal to type into
    yield from ("--hostname", "sandbox")
    yield "--clearenv"


def _identity(layout: Layout) -> Iterator[str]:
    user, group = (0, 0) if layout.owner else layout.base.user
    yield from ("--uid", str(user), "--gid", str(group), "--cap-drop", "ALL")
    if layout.owner:
        yield from ("--cap-add", "CAP_DAC_OVERRIDE", "--cap-add", "CAP_FOWNER")


def _base(base: Base) -> Iterator[str]:
    """The root is an empty tmpfs of bwrap's own, so that any mount point can be made in it."""
    for source, target in base.binds:
        yield from ("--ro-bind", str(source), target)
    for source_name, link in base.links:
        yield from ("--symlink", source_name, link)
    yield from ("--proc", "/proc", "--dev", "/dev")
    for folder in base.folders:
        yield from ("--dir", folder)


def _own_folders(limits: Limits) -> Iterator[str]:
    """Memory that looks like a disk: together less than half of what the box may use, or one `head -c` ends it."""
    shares = {"/tmp": limits.tmp_bytes, "/run": _RUN_BYTES, "/dev/shm": _SHM_BYTES}
    scale = min(1.0, limits.memory_bytes / 2 / sum(shares.values()))
    for target, size in shares.items():
        yield from ("--size", str(int(size * scale)), "--tmpfs", target)
    yield from ("--chmod", "1777", "/tmp", "--remount-ro", "/dev")


def _mounts(mounts: Sequence[Mount]) -> Iterator[str]:
    """After the tmpfs mounts, which would hide them."""
    for mount in mounts:
        yield from ("--bind" if mount.writable else "--ro-bind", str(mount.source), mount.target)
