"""What every tool inside the box shares: where it may go, and the form of what it answers."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KEPT_CHARACTERS = 20_000
_SPILL_FOLDER = ".tool-results"


class ToolFailed(Exception):
    """The tool could not do it; the message tells the model what to change."""


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
        if not path or "\0" in path:
            raise ToolFailed(f"path {path!r} is not a path")
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


def answer(text: str, *, is_error: bool = False) -> dict[str, Any]:
    """An outcome of one text block; never an empty one, which the Messages API refuses."""
    return {"content": [{"type": "text", "text": text or "(no output)"}], "is_error": is_error}


def error(text: str) -> dict[str, Any]:
    """An outcome that tells the model what went wrong."""
    return answer(text, is_error=True)


def reason(failure: OSError) -> str:
    """The kernel's words, without paths of this machine."""
    return (failure.strerror or "input/output error").lower()


def shortened(outcome: dict[str, Any], order: dict[str, Any], places: Places) -> dict[str, Any]:
    """The outcome with its first and last part only; the whole text goes to a file that `read` can look into."""
    text = outcome["content"][0]["text"]
    left_out = len(text) - 2 * _KEPT_CHARACTERS
    note = f"[... {left_out} characters are left out here; {_where(text, order, places)} ...]"
    short = f"{text[:_KEPT_CHARACTERS]}\n{note}\n{text[-_KEPT_CHARACTERS:]}"
    return answer(short, is_error=outcome["is_error"])


def _where(text: str, order: dict[str, Any], places: Places) -> str:
    if order["name"] == "read":
        return "read them with view_range"
    try:
        return f"the whole result is in {_spill(text, order['key'], places)}, to be read with view_range"
    except (OSError, ToolFailed):
        return "the whole result could not be written to the workspace"


def _spill(text: str, key: str, places: Places) -> str:
    folder = places.find(_SPILL_FOLDER, to_write=True)
    os.makedirs(folder, exist_ok=True)
    name = "".join(c if c.isalnum() or c in "_-" else "_" for c in key)[:80] or "result"
    path = os.path.join(folder, f"{name}.txt")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    with open(fd, "wb") as file:
        file.write(text.encode("utf-8", "replace"))
    return places.shown(path)
