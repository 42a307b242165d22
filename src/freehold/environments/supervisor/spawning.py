"""New processes of the box: its shell, or a function of ours in a fork. Both under the limits of the box's user."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import posix

from freehold.environments.supervisor import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

RESET = (_signal.SIGCHLD, _signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGINT)
"""Python changes what these do; a program expects the default."""


class Spawner:
    """Forks. `limits` are those of one box: `file_bytes`, `processes`, `open_files` and `address_bytes` or null.

    `bash`: how to start one where the box has no `/bin/bash`; may be empty.
    """

    def __init__(self, limits: dict[str, Any], environment: dict[str, str], bash: list[str]) -> None:
        self._limits = limits
        self._bash = bash if bash and not posix.access("/bin/bash", posix.X_OK) else ["/bin/bash"]
        self._environment = environment

    def shell(self, fds: dict[int, int]) -> int:
        """Start bash in a session of its own, with exactly the descriptors `fds` (number there: number here).

        All others are close-on-exec. It must be told `shell_limits` before anything else. It is not a fork of this
        process, which would have to copy itself page by page while the box opens: 2 ms of the 17.
        """
        moves = [(posix.POSIX_SPAWN_DUP2, source, to) for to, source in sorted(fds.items())]
        argv = [*self._bash, "--noprofile", "--norc"]
        return posix.posix_spawn(
            argv[0], argv, self._environment, file_actions=moves, setsid=True, setsigmask=(), setsigdef=RESET
        )

    def shell_limits(self) -> str:
        """A line that makes bash hold the limits, and go first when memory runs out. It ends if it cannot."""
        names = {"RLIMIT_CORE": "c", "RLIMIT_FSIZE": "f", "RLIMIT_NOFILE": "n", "RLIMIT_NPROC": "u", "RLIMIT_AS": "v"}
        in_kb = ("RLIMIT_FSIZE", "RLIMIT_AS")
        wanted = [
            f"-{names[name]} {value >> 10 if name in in_kb else value}" for name, value in _bounds(self._limits).items()
        ]
        return f"ulimit {' '.join(wanted)} || exit 126; echo 1000 2>/dev/null >/proc/self/oom_score_adj"

    def function(self, work: Callable[[int], None], directory: str) -> tuple[int, int]:
        """Run `work(fd)` in a fork; what it writes to `fd` comes out of the descriptor returned with its pid."""
        reading, writing = posix.pipe2(posix.O_CLOEXEC)
        pid = posix.fork()
        if pid == 0:
            self._work(work, directory, writing)
        posix.close(writing)
        posix.set_blocking(reading, False)
        return pid, reading

    def _work(self, work: Callable[[int], None], directory: str, writing: int) -> NoReturn:
        try:
            nowhere = posix.open("/dev/null", posix.O_RDWR)
            self._enter({0: nowhere, 1: nowhere, 2: nowhere, 3: writing})
            kernel.set_dumpable(False)
            _to_existing(directory)
            work(3)
            posix._exit(0)
        finally:
            posix._exit(1)

    def _enter(self, fds: dict[int, int]) -> None:
        posix.setsid()
        for signal in RESET:
            _signal.signal(signal, _signal.SIG_DFL)
        _signal.set_wakeup_fd(-1)
        _arrange(fds)
        kernel.die_first()
        import resource

        for name, value in _bounds(self._limits).items():
            resource.setrlimit(getattr(resource, name), (value, value))


def _bounds(limits: dict[str, Any]) -> dict[str, int]:
    """The limits by the names of `resource`, which is no built-in module: a box is open before it has been loaded."""
    import resource

    wanted = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": limits["file_bytes"],
        "RLIMIT_NOFILE": limits["open_files"],
        "RLIMIT_NPROC": limits["processes"],
    }
    if limits["address_bytes"]:
        wanted["RLIMIT_AS"] = limits["address_bytes"]
    for name, value in wanted.items():
        hard = resource.getrlimit(getattr(resource, name))[1]
        wanted[name] = value if hard == resource.RLIM_INFINITY else min(value, hard)
    return wanted


def _arrange(fds: dict[int, int]) -> None:
    """Descriptors exactly as in `fds`, everything else closed. The sources are moved out of the way first."""
    high = {to: posix.dup(source) for to, source in fds.items()}
    above = max([*high.values(), *fds]) + 1
    parked = {
        to: posix.dup2(source, above + place, inheritable=False) for place, (to, source) in enumerate(high.items())
    }
    for to, source in parked.items():
        posix.dup2(source, to)
    kernel.close_others(fds)


def _to_existing(directory: str) -> None:
    """Change there; where it was removed or is not a directory any more, to the root, so that the box stays usable."""
    try:
        posix.chdir(directory)
    except OSError:
        posix.chdir("/")
