"""The unpacked layers of an image put together into one root: a tree of hard links, which takes no room of its own.

Whoever reads here reads trees that `unpack` has made; still no link in them is followed, as an image may hold any.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from freehold.environments.images.archives import ImageRefused

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MOST_HOPS = 40
_FRESH = {
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "hostname": "sandbox\n",
    "resolv.conf": "# a box resolves no names\n",
}
"""What an image says of the network is about another machine."""
_MISSING = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "group": "root:x:0:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "gitconfig": "[safe]\n\tdirectory = *\n",
}
_MOST_TABLE_BYTES = 1 << 20


def assemble(layers: Sequence[Path], root: Path) -> None:
    """Lay them over each other, the lowest first, into the new folder `root`, and make it fit for boxes.

    Raises:
        ImageRefused: it cannot be the root of a box.
    """
    root.mkdir(mode=0o755)
    root.chmod(0o755)
    for layer in layers:
        _lay(layer, root)
    _fit(root)


def inside(root: Path, path: str) -> Path | None:
    """Where that path of the image is below `root`, links followed as if `root` were everything; `None`: nowhere."""
    at: list[str] = []
    waiting = path.split("/")
    for _ in range(_MOST_HOPS * 10):
        if not waiting:
            return root.joinpath(*at)
        part = waiting.pop(0)
        if part in ("", ".", ".."):
            at = at[:-1] if part == ".." else at
            continue
        found = root.joinpath(*at, part)
        if found.is_symlink():
            target = os.readlink(found)
            at = [] if target.startswith("/") else at
            waiting = target.split("/") + waiting
        elif os.path.lexists(found):
            at.append(part)
        else:
            return None
    return None


def table(root: Path, name: str) -> list[list[str]]:
    """The rows of `/etc/passwd` or `/etc/group` of the image."""
    found = inside(root, f"etc/{name}")
    if found is None or not found.is_file() or found.stat().st_size > _MOST_TABLE_BYTES:
        return []
    return [line.split(":") for line in found.read_text("utf-8", "replace").splitlines() if ":" in line]


def _lay(layer: Path, onto: Path) -> None:
    entries = list(os.scandir(layer))
    gone = {
        entry.name for entry in entries if entry.name.startswith(_WHITEOUT) and entry.is_file(follow_symlinks=False)
    }
    if _OPAQUE in gone:
        for below in list(os.scandir(onto)):
            _remove(Path(below.path))
    for name in gone - {_OPAQUE}:
        if name[len(_WHITEOUT) :] not in ("", ".", ".."):  # they would name the folder itself, and the one above it
            _remove(onto / name[len(_WHITEOUT) :])
    for entry in entries:
        if not entry.name.startswith(_WHITEOUT):
            _lay_one(entry, onto / entry.name)


def _lay_one(entry: os.DirEntry[str], target: Path) -> None:
    if entry.is_dir(follow_symlinks=False):
        _folder(target)
        _lay(Path(entry.path), target)
        return
    _remove(target)
    try:
        os.link(entry.path, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EMLINK, errno.EXDEV, errno.EPERM):
            raise
        shutil.copy2(entry.path, target, follow_symlinks=False)


def _folder(target: Path) -> None:
    if not target.is_symlink() and target.is_dir():
        return
    _remove(target)
    target.mkdir()
    target.chmod(0o755)


def _remove(path: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(kind):
        shutil.rmtree(path)
    else:
        path.unlink()


def _fit(root: Path) -> None:
    """What a box needs and an image has differently. Files are put anew: those that stand there belong to a layer."""
    for name in ("etc", "var"):
        if (root / name).is_symlink():
            raise ImageRefused(f"its /{name} is a link; boxes need a folder there")
        _folder(root / name)
    for name, text in _FRESH.items():
        _put(root / "etc" / name, text)
    for name, text in _MISSING.items():
        if not os.path.lexists(root / "etc" / name):
            _put(root / "etc" / name, text)
    for name, target in (("tmp", "/tmp"), ("run", "/run")):
        _remove(root / "var" / name)
        (root / "var" / name).symlink_to(target)
    _add_agent(root, "passwd", "agent:x:1000:1000:agent:/home/agent:/bin/sh\n")
    _add_agent(root, "group", "agent:x:1000:\n")


def _add_agent(root: Path, name: str, line: str) -> None:
    """A line for the user of boxes, where neither its name nor its number is taken."""
    rows = table(root, name)
    if not any(row[0] == "agent" or row[2:3] == ["1000"] for row in rows):
        _put(root / "etc" / name, "".join(f"{':'.join(row)}\n" for row in rows) + line)


def _put(path: Path, text: str) -> None:
    _remove(path)
    path.write_text(text, "utf-8")
    path.chmod(0o644)


def tops(root: Path) -> Iterator[os.DirEntry[str]]:
    """What stands at the top of the image."""
    yield from sorted(os.scandir(root), key=lambda entry: entry.name)
