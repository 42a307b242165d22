"""Where the file tools of a box may go: the session's folders, under the names that the model knows."""

from __future__ import annotations

import os

from freehold.environments.tools.results import ToolFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Places:
    """The folders that file tools reach: `[[shown, real, writable], …]`, the first being the working directory.

    In a box both names are the same. Without isolation `/workspace` is somewhere else, and `real` says where.
    """

    def __init__(self, places: list[list[Any]]) -> None:
        found = [(shown, os.path.realpath(real), writable) for shown, real, writable in places]
        self.directory = found[0][1]
        self._places = sorted(found, key=lambda place: -len(place[0]))  # a place within another one is asked first

    def find(self, path: str, *, to_write: bool = False) -> str:
        """The real path behind what the model wrote, with every link followed.

        Raises:
            ToolFailed: it lies outside, is not writable, or is no path.
        """
        if not path or "\0" in path or not _has_bytes(path):
            raise ToolFailed(f"path {path!a} is not a path")
        real = os.path.realpath(os.path.join(self.directory, self._translated(os.path.normpath(path))))
        if os.path.islink(real):
            raise ToolFailed(f"{path}: too many levels of symbolic links")
        for shown, root, writable in self._places:
            if real == root or real.startswith(root.rstrip("/") + "/"):
                if to_write and not writable:
                    raise ToolFailed(f"{path} is inside the read-only folder {shown}")
                return real
        raise ToolFailed(f"path {path!r} is outside the session's folders ({', '.join(p[0] for p in self._places)})")

    def shown(self, real: str) -> str:
        """The name of a real path as the model knows it."""
        for shown, root, _ in self._places:
            if real == root or real.startswith(root.rstrip("/") + "/"):
                return str(shown + real[len(root) :])
        return real

    def retold(self, text: str) -> str:
        """The same text with real folders under their shown names, where the two differ."""
        for shown, root, _ in self._places:
            if shown != root:
                text = text.replace(root, shown)
        return text

    def _translated(self, path: str) -> str:
        for shown, root, _ in self._places:
            if path == shown or path.startswith(shown + "/"):
                return str(root + path[len(shown) :])
        return path


def _has_bytes(path: str) -> bool:
    """Halves of characters have none."""
    try:
        return bool(os.fsencode(path))
    except UnicodeEncodeError:
        return False
