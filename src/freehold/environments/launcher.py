"""Starts the processes of boxes, all from one thread that lives as long as the server.

`bwrap --die-with-parent` means the *thread* that started it: a box opened from a pool thread dies with that thread.
The thread also has, when the server is root, a mount namespace of its own: what lies under a folder that the user of a
box may not enter (a data folder below `/root`) is bound to a place where it can. Nobody else sees those mounts.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from freehold.environments.base import BoxFailed

T = TypeVar("T")
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_STAGE = Path("/mnt")
"""Exists everywhere; only this thread sees what is mounted over it."""


class Launcher:
    """One thread. `folders` are those that boxes mount from; each must be reachable for users other than root."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="freehold-boxes")
        self._folders = tuple(folders)
        self._staged: dict[Path, Path] | None = None
        self._lock = threading.Lock()

    async def run(self, work: Callable[[], T]) -> T:
        """Do something in that thread. Who is cancelled meanwhile learns it when the work has ended."""
        return await whole(asyncio.get_running_loop().run_in_executor(self._thread, work))

    def close(self) -> None:
        """End the thread, and with it every box that is still open."""
        self._thread.shutdown(wait=True)

    def path(self, path: Path) -> Path:
        """The same file under a name that the user of a box can reach. Only within `run`.

        Raises:
            BoxFailed: it cannot be reached, naming the folder that is closed.
        """
        if os.geteuid() != 0:
            return path
        closed = closed_folder(path)
        if closed is None:
            return path
        for folder, stage in self._stages(closed).items():
            if path.is_relative_to(folder):
                return stage / path.relative_to(folder)
        raise BoxFailed(f"{path} lies under {closed}, which only its owner may enter; move it, or chmod o+x {closed}")

    def reach(self) -> None:
        """Make the ways around closed folders now; a process started before knows none of them. Only within `run`."""
        for folder in self._folders:
            with contextlib.suppress(BoxFailed):  # said by `path`, where such a folder is needed
                self.path(folder)

    def start(
        self,
        argv: Sequence[str],
        fds: Mapping[str, int],
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """Start a process with an empty environment and just these descriptors; `{name}` in `argv` is their number.

        Only within `run`. Its standard error is a pipe.

        Raises:
            BoxFailed: the program is not there.
        """
        numbers = {name: str(fd) for name, fd in fds.items()}
        command = [numbers.get(word[1:-1], word) if word.startswith("{") else word for word in argv]
        try:
            return subprocess.Popen(
                command,
                env={},
                cwd="/",
                pass_fds=tuple(fds.values()),
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise BoxFailed(f"{command[0]}: {error.strerror}") from error

    def _stages(self, closed: Path) -> dict[Path, Path]:
        if self._staged is None:
            self._staged = _stage([folder for folder in self._folders if closed_folder(folder)], closed)
        return self._staged


async def whole(work: Awaitable[T], undo: Callable[[T], object] | None = None) -> T:
    """Await it to its end even when cancelled: a thread goes on with what it was given. `undo`: its result then."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        if undo is not None and not future.cancelled() and future.exception() is None:
            undo(future.result())
        raise


def closed_folder(path: Path) -> Path | None:
    """The first folder above `path` that others may not enter; `None` when all of them are open."""
    above = (folder for folder in reversed(path.absolute().parents) if folder.is_dir())
    return next((folder for folder in above if not folder.stat().st_mode & stat.S_IXOTH), None)


def find_program(name: str) -> str | None:
    """Where a program of the host is; the server's own PATH is not trusted to hold the system's folders."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/bin", "/bin", "/usr/sbin"]))


def sealed_file(name: str, data: bytes) -> int:
    """A descriptor that reads as `data` from its beginning, and has no name anywhere."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    with contextlib.ExitStack() as on_error:
        on_error.callback(os.close, fd)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
        on_error.pop_all()
    return fd


def _stage(folders: Sequence[Path], closed: Path) -> dict[Path, Path]:
    """Bind each folder to a number under `/mnt`, in a mount namespace of this thread alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    refusal = f"{closed} may only be entered by its owner, and this server may not make a way around it"
    remedy = f"chmod o+x {closed}, choose a data folder elsewhere, or give the server CAP_SYS_ADMIN"
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise BoxFailed(f"{refusal} ({os.strerror(ctypes.get_errno())}); {remedy}")

    def mount(source: str, target: str, kind: str, flags: int) -> None:
        if libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, b"mode=0755") != 0:
            raise BoxFailed(f"{refusal}: mount {target}: {os.strerror(ctypes.get_errno())}; {remedy}")

    mount("none", "/", "none", _MS_REC | _MS_PRIVATE)
    open_folders = {folder: os.open(folder, os.O_PATH | os.O_DIRECTORY) for folder in folders}
    mount("freehold", str(_STAGE), "tmpfs", 0)
    staged = {}
    for number, (folder, fd) in enumerate(open_folders.items()):
        staged[folder] = _STAGE / str(number)
        staged[folder].mkdir(mode=0o755)
        mount(f"/proc/self/fd/{fd}", str(staged[folder]), "none", _MS_BIND | _MS_REC)
        os.close(fd)
    return staged
