"""A folder of files as tools: list, read, search. Nothing outside it, nothing by way of a link, nothing written.

Each part of a path is opened by itself below the one before it and must be no link, so that neither `..` nor a link
that is swapped in meanwhile leads out.
"""

from __future__ import annotations

import base64
import fnmatch
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.toolboxes.functions import Function, ToolFailed
from freehold.toolboxes.ready.entry import Entry, tool

_MEDIA = {
    ".png": ("image", "image/png"),
    ".jpg": ("image", "image/jpeg"),
    ".jpeg": ("image", "image/jpeg"),
    ".gif": ("image", "image/gif"),
    ".webp": ("image", "image/webp"),
    ".pdf": ("document", "application/pdf"),
}
_PATH = {"type": "string", "description": "Below the folder, such as reports/2026.md"}
_MOST_PATH_CHARS = 1024
_MOST_DEPTH = 32
_MOST_LISTED = 1000
_MOST_LOOKED_AT = 100_000
_MOST_HITS = 200
_HIT_CHARS = 300


@dataclass(frozen=True, slots=True)
class _Folder:
    root: Path
    most_bytes: int
    hidden: bool

    def list_files(self, arguments: Mapping[str, Any]) -> str:
        pattern = str(arguments.get("pattern") or "*")
        found, notes = list[str](), list[str]()
        for path, size in self._walk(notes):
            if not fnmatch.fnmatchcase(path, pattern):
                continue
            if len(found) == _MOST_LISTED:
                notes.append(f"[more than {_MOST_LISTED}; ask with a narrower pattern]")
                break
            found.append(json.dumps({"path": path, "bytes": size}, ensure_ascii=False))
        return "\n".join([*(found or ["There is no such file."]), *notes])

    def read_file(self, arguments: Mapping[str, Any]) -> object:
        path, offset = str(arguments["path"]), int(arguments.get("offset") or 0)
        kind = _MEDIA.get(os.path.splitext(path)[1].lower())
        with self._opened(path) as file:
            size = os.fstat(file).st_size
            if kind is not None:
                if size > self.most_bytes:
                    raise ToolFailed(f"{path!r} has {size} bytes; at most {self.most_bytes} can be shown.")
                data = base64.b64encode(_some(file, 0, self.most_bytes)).decode()
                return [{"type": kind[0], "source": {"type": "base64", "media_type": kind[1], "data": data}}]
            data_read = _some(file, offset, self.most_bytes)
        if b"\0" in data_read[:8192]:
            raise ToolFailed(f"{path!r} is no text.")
        rest = size - offset - len(data_read)
        note = f"\n[{rest} more bytes; go on with offset {offset + len(data_read)}]" if rest > 0 else ""
        return data_read.decode("utf-8", "replace") + note

    def search_files(self, arguments: Mapping[str, Any]) -> str:
        words, pattern = str(arguments["text"]).casefold(), str(arguments.get("pattern") or "*")
        hits, notes, large = list[str](), list[str](), 0
        for path, size in self._walk(notes):
            if not fnmatch.fnmatchcase(path, pattern):
                continue
            if size > self.most_bytes:
                large += 1
                continue
            try:
                with self._opened(path) as file:
                    data = _some(file, 0, self.most_bytes)
            except ToolFailed:
                continue  # it went away, or lies deeper than paths may be
            if b"\0" in data[:8192]:
                continue
            for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
                if words in line.casefold():
                    hit = {"path": path, "line": number, "text": line[:_HIT_CHARS]}
                    hits.append(json.dumps(hit, ensure_ascii=False))
                    if len(hits) == _MOST_HITS:
                        return "\n".join([*hits, f"[the first {_MOST_HITS}; search for something narrower]"])
        if large:
            notes.append(
                f"[{large} files of more than {self.most_bytes} bytes were not searched; read_file reads them]"
            )
        return "\n".join([*(hits or ["Nothing was found."]), *notes])

    def _walk(self, notes: list[str]) -> Iterator[tuple[str, int]]:
        """Regular files and their sizes, by path; links are not followed and not told of. `notes` says if some more
        were not looked at."""
        looked = 0
        for here, folders, files, descriptor in os.fwalk(self.root, follow_symlinks=False):
            folders[:] = sorted(name for name in folders if self._seen(name))
            place = Path(here).relative_to(self.root)
            for name in sorted(filter(self._seen, files)):
                looked += 1
                if looked > _MOST_LOOKED_AT:
                    notes.append(f"[only the first {_MOST_LOOKED_AT} files were looked at]")
                    return
                try:
                    found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISREG(found.st_mode):
                    yield str(place / name).encode("utf-8", "replace").decode(), found.st_size

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        parts = self._parts(path)
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in parts[:-1]:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = inner
            file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except (OSError, ValueError) as error:
            raise ToolFailed(f"There is no file {path[:200]!r} in this folder.") from error
        finally:
            os.close(folder)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise ToolFailed(f"{path[:200]!r} is no file.")
            yield file
        finally:
            os.close(file)

    def _parts(self, path: str) -> list[str]:
        parts = path.split("/")
        good = 0 < len(path) <= _MOST_PATH_CHARS and len(parts) <= _MOST_DEPTH
        if not good or any(part in ("", ".", "..") or "\0" in part or not self._seen(part) for part in parts):
            raise ToolFailed(f"There is no file {path[:200]!r} in this folder; a path looks like reports/2026.md.")
        return parts

    def _seen(self, name: str) -> bool:
        return self.hidden or not name.startswith(".")


def functions(entry: Entry) -> list[Function]:
    """The tools of a declared folder. Raises `Misconfigured`."""
    entry.known("path", "path_env", "file_bytes", "hidden")
    root = entry.path("path")
    if not root.is_dir():
        raise entry.wrong("path", f"{root} is no folder")
    hidden = entry.fields.get("hidden", False)
    if not isinstance(hidden, bool):
        raise entry.wrong("hidden", "must be true or false")
    folder = _Folder(root, int(entry.number("file_bytes", 1 << 20, 64 << 20)), hidden)
    pattern = {
        "type": "string",
        "default": "*",
        "description": "Such as *.md or reports/*",
    }
    offset = {"type": "integer", "minimum": 0, "default": 0, "description": "Where to begin, in bytes"}
    text = {"type": "string", "minLength": 1, "description": "What a line must hold, in any case"}
    return [
        tool("list_files", "List the files.", {"pattern": pattern}, folder.list_files, is_async=False),
        tool("read_file", "Read a file.", {"path": _PATH, "offset": offset}, folder.read_file, is_async=False),
        tool("search_files", "Find lines.", {"text": text, "pattern": pattern}, folder.search_files, is_async=False),
    ]


def _some(file: int, offset: int, most: int) -> bytes:
    parts = []
    os.lseek(file, offset, os.SEEK_SET)
    while most > 0 and (data := os.read(file, min(most, 1 << 20))):
        parts.append(data)
        most -= len(data)
    return b"".join(parts)
