"""What the server must do with an agent's files, done where they can do no harm: one program in a box of its own.

Packing and unpacking read names, links and archives that an agent or a stranger made. Inside there is nothing but the
folders at hand; no network, no other session, nothing of the host that a link could lead to.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from freehold.environments.base import BoxFailed, Limits
from freehold.environments.command import Layout, Mount, command, options
from freehold.environments.kit import Kit
from freehold.environments.launcher import Launcher, sealed_file

_LIMITS = Limits()
_WORDS_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Chore:
    """A bash script (its positional arguments are `arguments`), the folders it sees, and where its streams lead."""

    script: str
    mounts: Sequence[Mount]
    arguments: Sequence[str] = ()
    stdin: int = subprocess.DEVNULL
    stdout: int = subprocess.DEVNULL
    fds: Mapping[str, int] = field(default_factory=dict)
    """More descriptors; `{name}` in `arguments` is the number of each."""
    timeout_s: float = 600.0


class ChoreFailed(BoxFailed):
    """The program did not end well; the message is its own."""


async def do(launcher: Launcher, kit: Kit, user: int | None, chore: Chore) -> None:
    """Run it to its end.

    Raises:
        ChoreFailed: it failed, or took too long.
    """
    process = await launcher.run(lambda: _start(launcher, kit, user, chore))
    ending = asyncio.ensure_future(asyncio.to_thread(_ending, process))
    try:
        async with asyncio.timeout(chore.timeout_s):
            status, words = await asyncio.shield(ending)
    except TimeoutError:
        raise ChoreFailed(f"it did not end within {chore.timeout_s:g} s") from None
    finally:
        process.kill()
        await asyncio.shield(ending)
    if status != 0:
        raise ChoreFailed(words or f"it ended with status {status}")


def _ending(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Wait for it, listening to all it complains of and keeping the end of that."""
    words = b""
    assert process.stderr is not None
    with process.stderr as complaints:
        while piece := os.read(complaints.fileno(), 1 << 16):
            words = (words + piece)[-_WORDS_BYTES:]
    return process.wait(), words.decode("utf-8", "replace").strip()


def _start(launcher: Launcher, kit: Kit, user: int | None, chore: Chore) -> subprocess.Popen[bytes]:
    mounts = [Mount(launcher.path(mount.source), mount.target, mount.writable) for mount in chore.mounts]
    layout = Layout(kit.base_for(launcher), mounts, _LIMITS, "/", owner=True)
    info = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    fds = {
        "options": sealed_file("options", options(layout)),
        "seccomp": sealed_file("seccomp", kit.filter),
        "info": info,
    }
    script = f"export PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C.UTF-8; set -e -o pipefail; {chore.script}"
    inside = ["/bin/bash", "--noprofile", "--norc", "-c", script, "chore", *chore.arguments]
    try:
        argv = command(kit.bwrap, kit.setpriv, user, inside)
        return launcher.start(argv, {**fds, **chore.fds}, stdin=chore.stdin, stdout=chore.stdout)
    finally:
        for fd in fds.values():
            os.close(fd)
