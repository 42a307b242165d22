"""What `freehold doctor` looks at beyond what every start does: the version of bubblewrap, and apt packages."""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from freehold.environments.base import Box, BoxDied, BoxFailed, BoxSpec, Protection
from freehold.environments.command import Fittings
from freehold.environments.launcher import find_program
from freehold.environments.workdirs import Workdir, make_folder

_OLDEST = (0, 8)
_UPGRADE = "boxes are tested with 0.8 and later: install a newer bubblewrap"
_OVERLAYS = (
    "environments with apt packages fail without it: needs Linux 5.11 or later with overlayfs for user namespaces, and "
    "`unshare` and `mount` (apt install util-linux)"
)


@runtime_checkable
class Examinable(Protocol):
    """A backend that can be looked at more closely."""

    async def examine(self) -> Sequence[Protection]:
        """Opens a box for it; may take a second."""
        ...


def version() -> Protection:
    """Of bubblewrap, as it says itself."""
    program = find_program("bwrap")
    if program is None:
        return Protection("bubblewrap", False, "not installed", "apt install bubblewrap")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, env={}).stdout.strip()
    numbers = tuple(int(number) for number in re.findall(r"\d+", said)[:2])
    return Protection("bubblewrap", numbers >= _OLDEST, said or "it does not say its version", _UPGRADE)


async def overlays(open_with: Callable[[BoxSpec, Fittings], Awaitable[Box]], root: Path) -> Protection:
    """Lay a folder over the base of a box, and look whether it is seen there."""
    workdir = Workdir(root / f"probe_{secrets.token_hex(6)}")
    layer = workdir.path / "layer"
    workdir.make()
    make_folder(layer, 0o755)
    make_folder(layer / "etc", 0o755)
    (layer / "etc" / "overlaid").write_text("seen\n", "ascii")
    try:
        box = await open_with(BoxSpec(workdir.path.name, workdir.path, 1), Fittings(over=layer))
        try:
            outcome = await box.call("bash", {"command": "cat /etc/overlaid"}, key="overlaid", epoch=1)
        finally:
            await box.close()
    except (BoxFailed, BoxDied) as error:
        return Protection("apt packages", False, str(error), _OVERLAYS)
    finally:
        workdir.delete()
    return Protection("apt packages", not outcome.is_error, "can be laid over the system of a box", _OVERLAYS)
