"""A folder that an agent can write to, used from outside: no link in it leads anywhere, no pipe in it blocks us.

Every step goes through a file descriptor of the folder above, with links refused, so that nothing the agent swaps in
meanwhile can send a read or a write elsewhere. Blocks, so for a thread.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Found:
    """One file: its path below the root (`notes/a.md`), and its bytes, or why it was not read.

    A folder that was not looked into stands here by itself, and by the path `""` all of what was too much.
    """

    path: str
    data: bytes | None
    problem: str | None = None


def may_hold(unread: Container[str], path: str) -> bool:
    """Whether a file that was not found may be there all the same, below something that was not looked into."""
    parts = path.split("/")
    return any("/".join(parts[:depth]) in unread for depth in range(len(parts)))


class Tree:
    """The files under one folder. `owner` is the user and group that new files and folders shall belong to."""

    def __init__(self, root: Path, *, owner: tuple[int, int] | None = None) -> None:
        self._root = root
        self._owner = owner

    def make(self) -> None:
        """Make the folder itself, unless it is there."""
        self._root.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            self._root.mkdir(mode=0o755)
            with self._open_root() as root:
                self.own(root)

    def files(self, *, most_files: int, most_bytes: int, most_depth: int) -> Iterator[Found]:
        """Every plain file, in no order; what is too big, too deep or too much is told and not read."""
        with self._open_root() as root:
            left = most_files
            for found in _walk(root, "", most_bytes, most_depth):
                if left == 0:
                    yield Found("", None, f"there are more than {most_files:,} files")
                    return
                left -= 1
                yield found

    def write(self, path: str, data: bytes) -> None:
        """Put a file there whole, with the folders above it. Raises `OSError` where something is in the way."""
        folders, name = path.split("/")[:-1], path.split("/")[-1]
        with self._open_root() as root, _below(root, folders, make=self) as parent:
            scratch = f".{secrets.token_hex(8)}.tmp"
            fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=parent)
            try:
                with open(fd, "wb") as file:
                    file.write(data)
                    self.own(file.fileno())
                os.rename(scratch, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(scratch, dir_fd=parent)
                raise

    def remove(self, path: str) -> None:
        """Take a file away, if it is there, and the folders that it leaves empty."""
        folders, name = path.split("/")[:-1], path.split("/")[-1]
        with self._open_root() as root, contextlib.suppress(FileNotFoundError):
            with _below(root, folders, make=None) as parent:
                os.unlink(name, dir_fd=parent)
            for depth in range(len(folders), 0, -1):
                with _below(root, folders[: depth - 1], make=None) as above, contextlib.suppress(OSError):
                    os.rmdir(folders[depth - 1], dir_fd=above)

    def own(self, fd: int) -> None:
        """Give what was just made to the agent's user."""
        if self._owner is not None:
            os.fchown(fd, *self._owner)

    @contextlib.contextmanager
    def _open_root(self) -> Iterator[int]:
        fd = os.open(self._root, _FOLDER)
        try:
            yield fd
        finally:
            os.close(fd)


@contextlib.contextmanager
def _below(root: int, folders: list[str], *, make: Tree | None) -> Iterator[int]:
    fd = os.dup(root)
    try:
        for folder in folders:
            try:
                inner = os.open(folder, _FOLDER, dir_fd=fd)
            except FileNotFoundError:
                if make is None:
                    raise
                os.mkdir(folder, 0o755, dir_fd=fd)
                inner = os.open(folder, _FOLDER, dir_fd=fd)
                make.own(inner)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def _walk(folder: int, prefix: str, most_bytes: int, depth_left: int) -> Iterator[Found]:
    for name in os.listdir(folder):
        path = prefix + name
        if not path.isprintable():
            yield Found(ascii(path), None, "its name has characters that are not taken")
            continue
        try:
            yield from _entry(folder, name, path, most_bytes, depth_left)
        except FileNotFoundError:
            continue  # gone since it was listed
        except OSError as error:
            yield Found(path, None, f"it cannot be read: {error.strerror}")


def _entry(folder: int, name: str, path: str, most_bytes: int, depth_left: int) -> Iterator[Found]:
    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode):
        if depth_left <= 1:
            yield Found(path, None, "it is nested too deeply")
            return
        inner = os.open(name, _FOLDER, dir_fd=folder)
        try:
            yield from _walk(inner, path + "/", most_bytes, depth_left - 1)
        finally:
            os.close(inner)
    elif stat.S_ISREG(mode):
        yield _read(folder, name, path, most_bytes)
    else:
        yield Found(path, None, "it is a link or a device")


def _read(folder: int, name: str, path: str, most_bytes: int) -> Found:
    fd = os.open(name, _FILE, dir_fd=folder)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):  # swapped since it was looked at
            return Found(path, None, "it is a link or a device")
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        return Found(path, None, f"it is larger than {most_bytes:,} bytes")
    return Found(path, data)
