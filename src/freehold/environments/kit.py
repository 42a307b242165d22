"""What all boxes of one server share: programs, the base, the code of the supervisor, the filter of system calls."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from freehold.environments import bundle, rootfs, seccomp
from freehold.environments.base import NoIsolation
from freehold.environments.launcher import Launcher, find_program
from freehold.environments.workdirs import make_folder


@dataclass(frozen=True, slots=True)
class Kit:
    """Found out when the first box is opened."""

    bwrap: str
    setpriv: str | None
    base: rootfs.Base
    code: bytes
    filter: bytes

    def base_for(self, launcher: Launcher) -> rootfs.Base:
        """The base under names that the user of a box can reach. Only within the launcher's thread."""
        binds = tuple((launcher.path(source), target) for source, target in self.base.binds)
        return replace(self.base, binds=binds)


def find_kit(root: Path) -> Kit:
    """Find the programs, make the base, compile the supervisor, build the filter.

    Raises:
        NoIsolation: one of them is not to be had; the message says what to install.
    """
    bwrap = find_program("bwrap")
    if bwrap is None:
        raise NoIsolation("bubblewrap is not installed (no `bwrap` on PATH): apt install bubblewrap")
    setpriv = find_program("setpriv")
    if os.geteuid() == 0 and setpriv is None:
        raise NoIsolation("`setpriv` is not installed (apt install util-linux): a server that is root needs it")
    machine = seccomp.this_machine()
    if machine is None:
        raise NoIsolation(f"there is no seccomp filter for {os.uname().machine}; boxes run on x86_64 and aarch64")
    make_folder(root, 0o711)
    base = rootfs.host_base(root / ".base")
    return Kit(bwrap, setpriv, base, bundle.compiled([base.python]), seccomp.program(machine))
