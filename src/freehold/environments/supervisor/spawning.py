"""New processes of the box: a program, or a function of ours in a fork. Both under the limits of the box's user."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import resource

from freehold.environments.supervisor import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_HIGHEST_FD = 1024
_RESET = (_signal.SIGCHLD, _signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGINT)
"""Python changes what these do; a program expects the default."""


class Spawner:
    """Forks. `limits` are those of one box: `file_bytes`, `processes`, `open_files` and `address_bytes` or null."""

    def __init__(self, limits: dict[str, Any], environment: dict[str, str]) -> None:
        self._limits = {
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_FSIZE: limits["file_bytes"],
            resource.RLIMIT_NOFILE: limits["open_files"],
            resource.RLIMIT_NPROC: limits["processes"],
        }
        if limits["address_bytes"]:
            self._limits[resource.RLIMIT_AS] = limits["address_bytes"]
        self._environment = environment

    def program(self, argv: list[str], directory: str, fds: dict[int, int]) -> int:
        """Start `argv` in a session of its own, with exactly the descriptors `fds` (number there: number here)."""
        pid = os.fork()
        if pid == 0:
            self._become(argv, directory, fds)
        return pid

    def function(self, work: Callable[[int], None], directory: str) -> tuple[int, int]:
        """Run `work(fd)` in a fork; what it writes to `fd` comes out of the descriptor returned with its pid."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            self._work(work, directory, writing)
        os.close(writing)
        os.set_blocking(reading, False)
        return pid, reading

    def _become(self, argv: list[str], directory: str, fds: dict[int, int]) -> NoReturn:
        try:
            self._enter(fds)
            _to_existing(directory)
            os.execve(argv[0], argv, self._environment)
        except OSError as error:
            os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(127)

    def _work(self, work: Callable[[int], None], directory: str, writing: int) -> NoReturn:
        try:
            nowhere = os.open("/dev/null", os.O_RDWR)
            self._enter({0: nowhere, 1: nowhere, 2: nowhere, 3: writing})
            kernel.set_dumpable(False)
            _to_existing(directory)
            work(3)
            os._exit(0)
        finally:
            os._exit(1)

    def _enter(self, fds: dict[int, int]) -> None:
        os.setsid()
        for signal in _RESET:
            _signal.signal(signal, _signal.SIG_DFL)
        _signal.set_wakeup_fd(-1)
        _arrange(fds)
        kernel.die_first()
        for limit, value in self._limits.items():
            hard = resource.getrlimit(limit)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(limit, (value, value))


def _arrange(fds: dict[int, int]) -> None:
    """Descriptors exactly as in `fds`, everything else closed. The sources are moved out of the way first."""
    high = {to: os.dup(source) for to, source in fds.items()}
    above = max([*high.values(), *fds]) + 1
    parked = {to: os.dup2(source, above + place, inheritable=False) for place, (to, source) in enumerate(high.items())}
    for to, source in parked.items():
        os.dup2(source, to)
    edge = 0
    for fd in [*sorted(fds), _HIGHEST_FD]:
        if edge < fd:  # closerange(0, 0) closes everything on Python 3.11
            os.closerange(edge, fd)
        edge = fd + 1


def _to_existing(directory: str) -> None:
    """Change there; where it was removed or is not a directory any more, to the root, so that the box stays usable."""
    try:
        os.chdir(directory)
    except OSError:
        os.chdir("/")
