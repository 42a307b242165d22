"""A layer laid over the base of a box: one read-only overlay each for `/usr` and `/etc`, made without root.

bubblewrap 0.8 mounts no overlays. So the process that becomes bubblewrap first makes a user and a mount namespace of
its own and mounts them there; nobody else sees them, and they go with the box.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from freehold.environments.base import BoxFailed, NoIsolation
from freehold.environments.launcher import find_program
from freehold.environments.rootfs import Base
from freehold.environments.workdirs import make_folder

_SEPARATORS = frozenset(":,\\\n")
_LAID = ("/usr", "/etc")


@dataclass(frozen=True, slots=True)
class Overlay:
    """The base as a box then has it, and the lines that tell its beginning what to do for that."""

    base: Base
    lines: tuple[str, ...] = ()


def mount_points(root: Path) -> Path:
    """Where overlays are mounted, each box in a namespace of its own; made once under `root`."""
    make_folder(root, 0o755)
    for target in _LAID:
        make_folder(root / target.lstrip("/"), 0o755)
    return root


def laid_over(base: Base, layer: Path, points: Path) -> Overlay:
    """Lay `usr` and `etc` of `layer` over those of `base`. All paths as the box's user can reach them.

    Raises:
        BoxFailed: this machine has not what it takes.
    """
    unshare = find_program("unshare")
    if unshare is None:
        raise NoIsolation("`unshare` is not installed (apt install util-linux); apt packages need it")
    binds, lines = [], []
    for source, target in base.binds:
        upper, point = layer / target.lstrip("/"), points / target.lstrip("/")
        laid = target in _LAID and upper.is_dir()
        if laid:
            lines += [f"{_checked(upper)}:{_checked(source)}", str(_checked(point))]
        binds.append((point if laid else source, target))
    return Overlay(replace(base, binds=tuple(binds)), (unshare, *lines)) if lines else Overlay(base)


def _checked(path: Path) -> Path:
    if _SEPARATORS & set(str(path)):
        raise BoxFailed(f"{path}: apt packages need a data folder without colon, comma or backslash in its path")
    return path
