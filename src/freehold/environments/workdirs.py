"""A session's files on the host: what its boxes mount, what outlives them, and the safe way in and out.

    <root>/<session id>/      0711   meta.json, journal, lock: the server's, outside every mount
        workspace/  home/  outputs/   the agent's, mounted read-write
        uploads/                      the server's, mounted read-only

Nothing here follows a link that an agent may have planted, opens a FIFO, or reads a device. This module does not know
boxes or the API.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from freehold.errors import InvalidRequest, NotFound

UPLOADS = "/mnt/session/uploads"
OUTPUTS = "/mnt/session/outputs"
WORKSPACE = "/workspace"
HOME = "/home/agent"
MOST_OUTPUTS = 10_000
"""Files that are listed of one session; an agent can make more than anyone can look at."""
_MOST_PATH_CHARACTERS = 1024
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Output:
    """A file that an agent left for the user. `path` is relative to `/mnt/session/outputs`."""

    path: str
    size_bytes: int
    modified_us: int


def make_folder(path: Path, mode: int) -> None:
    """Make it if it is missing, with exactly that mode whatever the umask; what is above it gets the default."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    path.chmod(mode)


def give(path: Path, owner: int | None) -> None:
    """To the user of a session's boxes; nothing happens when that is the server itself (`None`)."""
    if owner is not None:
        os.chown(path, owner, owner)


def upload_path(mount_path: str) -> str:
    """The part of a resource's `mount_path` below `/mnt/session/uploads`.

    Raises:
        InvalidRequest: it is not below it, or not a plain path.
    """
    below = mount_path.removeprefix(UPLOADS + "/")
    parts = below.split("/")
    if below == mount_path or len(below) > _MOST_PATH_CHARACTERS or not _plain(parts):
        raise InvalidRequest(
            f"mount_path: {mount_path[:200]!r} must be a path below {UPLOADS}/, "
            "without '..', '//' or control characters"
        )
    return below


def _plain(parts: list[str]) -> bool:
    fine = all(part not in ("", ".", "..") and len(part.encode("utf-8", "replace")) <= 255 for part in parts)
    return fine and all(character.isprintable() for part in parts for character in part)


class Workdir:
    """One session's folder. Nothing is made before `prepare`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.workspace = path / "workspace"
        self.home = path / "home"
        self.uploads = path / "uploads"
        self.outputs = path / "outputs"
        self.building = path / "layer"
        """Only where packages are being installed."""

    @property
    def journal(self) -> Path:
        """Where the results of calls are written before the server hears of them."""
        return self.path / "journal"

    def prepare(self, owner: int | None) -> None:
        """Make what is missing. `owner`: the user of the session's boxes, when the server may give files away."""
        self.make()
        for folder in (self.workspace, self.home, self.outputs):
            if not folder.exists():
                make_folder(folder, 0o700)
                give(folder, owner)

    def make(self) -> None:
        """The folder itself and `uploads`, so that files can be put there before the first box."""
        make_folder(self.path.parent, 0o711)
        make_folder(self.path, 0o711)
        make_folder(self.uploads, 0o755)

    def meta(self) -> dict[str, object]:
        """What is remembered of the session between boxes; empty before the first."""
        try:
            found = json.loads((self.path / "meta.json").read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return found if isinstance(found, dict) else {}

    def remember(self, **changes: object) -> None:
        """Change some of it, in one step."""
        fresh = self.path / ".meta.json~"
        fresh.write_text(json.dumps({**self.meta(), **changes}), "utf-8")
        fresh.chmod(0o600)
        fresh.replace(self.path / "meta.json")

    def put_upload(self, mount_path: str, content: BinaryIO) -> None:
        """Copy a file to where the box shows it as `mount_path`. A box that is open sees it at once.

        Raises:
            InvalidRequest: see `upload_path`; or a folder is there already.
        """
        target = self.uploads / upload_path(mount_path)
        self.make()
        fresh = self.uploads / f".{os.urandom(8).hex()}~"
        try:
            for folder in reversed(target.relative_to(self.uploads).parents):
                make_folder(self.uploads / folder, 0o755)
            with open(fresh, "xb") as file:
                shutil.copyfileobj(content, file, _COPY_BYTES)
            fresh.chmod(0o644)
            fresh.replace(target)
        except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
            fresh.unlink(missing_ok=True)
            raise InvalidRequest(
                f"mount_path: {mount_path[:200]!r} collides with another file of the session"
            ) from error

    def remove_upload(self, mount_path: str) -> None:
        """Take it away again; nothing happens when it is not there."""
        (self.uploads / upload_path(mount_path)).unlink(missing_ok=True)

    def has_outputs(self) -> bool:
        """Whether anything at all is under `outputs`: quick enough to be asked without a thread."""
        try:
            with os.scandir(self.outputs) as entries:
                return next(entries, None) is not None
        except OSError:
            return False

    def list_outputs(self) -> list[Output]:
        """The regular files under `outputs`, by path; links, FIFOs and devices are not among them."""
        if not self.outputs.is_dir():
            return []
        found = []
        for output in _regular_files(self.outputs):
            found.append(output)
            if len(found) == MOST_OUTPUTS:
                break
        return sorted(found, key=lambda output: output.path)

    def open_output(self, path: str) -> BinaryIO:
        """One of them, to be read. The agent may change it meanwhile, but cannot make this another file.

        Raises:
            NotFound: there is no regular file of that name.
        """
        *folders, name = PurePosixPath(path).parts or ("",)
        if any(part in ("..", "/") for part in (*folders, name)):
            raise NotFound(f"there is no output {path[:200]!r}")
        try:
            return _open_beneath(self.outputs, folders, name)
        except OSError as error:
            raise NotFound(f"there is no output {path[:200]!r}") from error

    def holds(self, path: str) -> bool:
        """Whether there is a folder at that path of the workspace, on no way through a link."""
        at = self.workspace
        for part in PurePosixPath(path).relative_to(WORKSPACE).parts:
            at = at / part
            if at.is_symlink() or not at.is_dir():
                return False
        return True

    def adopt(self, made: Path, parts: Sequence[str]) -> None:
        """Move a folder that was made elsewhere to that place in the workspace, if nothing is there.

        Raises:
            OSError: it cannot be put there; a link or a file is in the way.
        """
        at = os.open(self.workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            for part in parts[:-1]:
                inner = _folder_in(at, part)
                os.close(at)
                at = inner
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISDIR(os.stat(parts[-1], dir_fd=at, follow_symlinks=False).st_mode):
                    return
            os.rename(made, parts[-1], dst_dir_fd=at)
        finally:
            os.close(at)

    def delete(self) -> None:
        """Remove everything, whatever modes the agent has set. Nothing happens when it is not there."""
        if not self.path.is_dir():
            return
        for folder, folders, _, fd in os.fwalk(self.path, onerror=None):
            for name in folders:
                _open_up(folder, name, fd)
        shutil.rmtree(self.path)


class Workdirs:
    """All of them, under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def of(self, session_id: str) -> Workdir:
        """The folder of that session, made or not."""
        if not session_id.replace("_", "").isalnum():
            raise ValueError(f"{session_id!r} is not a session id")
        return Workdir(self.root / session_id)


def _folder_in(at: int, name: str) -> int:
    """That folder, opened; made where it is missing, for whoever owns the one above."""
    try:
        os.mkdir(name, 0o755, dir_fd=at)
    except FileExistsError:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
    made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
    above = os.fstat(at)
    os.fchown(made, above.st_uid, above.st_gid)
    return made


def _open_up(folder: str, name: str, fd: int) -> None:
    """A folder the agent has closed for everyone, opened for its removal (links are not followed)."""
    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode) and found.st_mode & 0o700 != 0o700 and found.st_uid == os.geteuid():
        os.chmod(os.path.join(folder, name), 0o700)


def _regular_files(root: Path) -> Iterator[Output]:
    """Walked by descriptor, so that a folder which becomes a link while we look leads nowhere."""
    for folder, _, names, fd in os.fwalk(root, follow_symlinks=False):
        for name in names:
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                path = os.path.relpath(os.path.join(folder, name), root)
                path.encode("utf-8")
            except (OSError, UnicodeEncodeError):
                continue  # it went away, or its name cannot be told in JSON
            if stat.S_ISREG(found.st_mode):
                yield Output(path, found.st_size, found.st_mtime_ns // 1000)


def _open_beneath(root: Path, folders: list[str] | tuple[str, ...], name: str) -> BinaryIO:
    """Open step by step, none of them through a link, and the last without waiting for a FIFO's writer."""
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=at)
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(name)
    return open(fd, "rb")
