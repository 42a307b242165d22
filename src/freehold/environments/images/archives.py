"""The blobs of an image as it lies on the disk: a folder in the OCI layout, or a tar of one, or of `docker save`.

Only headers are read here, and few bytes at once: the file may be anybody's. Nothing is unpacked.
"""

from __future__ import annotations

import io
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from freehold.environments.base import BoxFailed

_MOST_MEMBERS = 20_000
_MOST_HEADER_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*){0,7}")
_PACKED = {b"\x1f\x8b": "gunzip", b"\x28\xb5": "zstd -d", b"BZ": "bunzip2", b"\xfd7": "unxz"}


class ImageRefused(BoxFailed):
    """This is no image that a box could stand on; the message says why."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A part of a file: `size` bytes from `offset`."""

    path: Path
    offset: int
    size: int


class Archive(Protocol):
    """Where the blobs of one image are found by their names."""

    def find(self, name: str) -> Blob | None:
        """Such as `index.json` or `blobs/sha256/…`; `None` when there is none."""
        ...


def open_archive(path: Path) -> Archive:
    """The folder or the tar at `path`.

    Raises:
        ImageRefused: it is neither, or not there.
    """
    if path.is_dir():
        return _Folder(path)
    try:
        return _Tar(path)
    except (OSError, tarfile.TarError, ValueError) as error:
        raise ImageRefused(f"{path.name} cannot be read as a tar: {_said(path, error)}") from error


def read(blob: Blob, most_bytes: int) -> bytes:
    """All of a small blob.

    Raises:
        ImageRefused: it is larger than `most_bytes`.
    """
    if blob.size > most_bytes:
        raise ImageRefused(f"a description in the image has {blob.size:,} bytes; at most {most_bytes:,} are read")
    with blob.path.open("rb") as file:
        file.seek(blob.offset)
        return file.read(blob.size)


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, name: str) -> Blob | None:
        path = self._root / _checked(name)
        if path.is_symlink() or not path.is_file():
            return None
        return Blob(path, 0, path.stat().st_size)


class _Tar:
    """Where each member's bytes lie. A link to another member (older `docker save`) is that member."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Blob] = {}
        self._links: dict[str, str] = {}
        with _Sips(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for number, member in enumerate(tar):
                if number == _MOST_MEMBERS:
                    raise ImageRefused(f"{path.name} has more than {_MOST_MEMBERS:,} parts; that is no image")
                self._note(member)

    def find(self, name: str) -> Blob | None:
        return self._found.get(self._links.get(_checked(name), name))

    def _note(self, member: tarfile.TarInfo) -> None:
        name = _normal(member.name)
        if member.isreg() and not member.issparse():
            self._found[name] = Blob(self._path, member.offset_data, member.size)
        elif member.issym():
            self._links[name] = _normal(str(PurePosixPath(name).parent / member.linkname))
        elif member.islnk():
            self._links[name] = _normal(member.linkname)


class _Sips(io.FileIO):
    """A file of which nothing reads much at once: a header that claims to be large is refused, not read."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _MOST_HEADER_BYTES:
            raise ValueError("a header in it is too large")
        return super().read(size)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ImageRefused(f"{name[:200]!r} in the image is no name of a part of it")
    return name


def _normal(name: str) -> str:
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            parts[-1:] = []
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _said(path: Path, error: Exception) -> str:
    try:
        with path.open("rb") as file:
            program = _PACKED.get(file.read(2))
    except OSError:
        program = None
    return f"it is compressed; run {program} on it first" if program else str(error)
