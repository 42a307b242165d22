"""What the supervisor asks of the kernel that Python has no function for, and the list of processes."""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_HIGHEST_FD = 1024


def _prctl(option: int, value: int) -> int:
    try:
        import _ctypes

        program = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]
        address = _ctypes.dlsym(program, "prctl")
        return int(_ctypes.call_function(address, (option, value, 0, 0, 0)))
    except (ImportError, AttributeError, TypeError):
        import ctypes

        return int(ctypes.CDLL(None).prctl(option, value, 0, 0, 0))


def set_dumpable(dumpable: bool) -> None:
    """Not dumpable: other processes of the same user can neither open its descriptors nor read its memory.

    Raises:
        OSError: the kernel did not do it. A supervisor must not go on then.
    """
    if _prctl(_PR_SET_DUMPABLE, int(dumpable)) != 0:
        raise OSError("prctl(PR_SET_DUMPABLE) failed")


def adopt_orphans() -> None:
    """Become the parent of every orphan below this process, as pid 1 is by nature."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_first() -> None:
    """When memory runs out, the kernel shall take this process and its children, not the supervisor.

    The file belongs to root while a process is not dumpable, so it is made dumpable for that moment; only a fork that
    has already let go of every descriptor may call this.
    """
    set_dumpable(True)
    try:
        with open("/proc/self/oom_score_adj", "wb") as file:
            file.write(b"1000")
    except OSError:
        return  # no such file: a kernel without it has no OOM killer to direct


def close_others(fds: Iterable[int]) -> None:
    """Close every descriptor but these."""
    edge = 0
    for fd in [*sorted(fds), _HIGHEST_FD]:
        if edge < fd:  # closerange(0, 0) closes everything on Python 3.11
            posix.closerange(edge, fd)
        edge = fd + 1


def processes() -> dict[int, tuple[int, str]]:
    """Every visible process: its parent and its state (`R`, `S`, `T`, `Z` ...)."""
    found = {}
    for name in posix.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    rest = file.read().rpartition(b")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            found[int(name)] = (int(rest[1]), rest[0].decode())
    return found


def below(root: int, keep: set[int], table: dict[int, tuple[int, str]]) -> list[int]:
    """The living descendants of `root`, without `keep` and what stands under it."""
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found, waiting = [], [root]
    while waiting:
        for pid in children.get(waiting.pop(), []):
            if pid not in keep:
                waiting.append(pid)
                if table[pid][1] not in "ZX":
                    found.append(pid)
    return found


def end_all(keep: set[int], *, rounds: int = 1000) -> None:
    """Kill every descendant of this process except `keep`, however it forks, ignores signals or left its group.

    All are stopped before any is killed: a stopped process cannot fork. The list of processes is read while it
    changes, so a child can be missing from it, or its parent be gone already: only two lists in a row are believed.
    Returns when all are dead, though the last may still have to be waited for.
    """
    own, told, quiet = posix.getpid(), set[int](), 0
    foreign = set(keep)
    for _ in range(rounds):
        table = processes()
        alive = below(own, foreign, table)
        running = [pid for pid in alive if table[pid][1] not in ("Tt" if pid not in told else "TtD")]
        quiet = 0 if running else quiet + 1
        if running:
            foreign |= _send(running, 19)  # SIGSTOP; what waits for a disk or its child obeys on the way out
            told.update(running)
        elif quiet > 1 and alive:
            _send(alive, 9)  # SIGKILL
            quiet = 0
        elif quiet > 1:
            return
        posix.sched_yield()
    _send(alive, 9)


def _send(pids: list[int], signal: int) -> set[int]:
    """Returns those that are not ours to signal, which only happens without isolation."""
    refused = set()
    for pid in pids:
        try:
            posix.kill(pid, signal)
        except ProcessLookupError:
            continue
        except PermissionError:
            refused.add(pid)
    return refused
