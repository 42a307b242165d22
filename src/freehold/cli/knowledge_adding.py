"""Finds the documents that `freehold knowledge add` was given, and sends those that the server does not have so."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from freehold.cli.calling import Refused, Server
from freehold.knowledge.kinds import kind_of
from freehold.knowledge.reading.base import Unreadable

_FETCHED_AT_ONCE = 100


class Adding:
    """Adds to one collection; `path` is where its documents are."""

    def __init__(self, server: Server, path: str) -> None:
        self._server = server
        self._path = path

    def add(self, sources: Sequence[str], *, prune: bool) -> Iterator[dict[str, Any]]:
        """What becomes of each document: `source` and `outcome`, and what belongs to that.

        Raises:
            Refused: there is no such collection, or no such file.
        """
        known = {one["name"]: one for one in self._server.pages(self._path, {"limit": "1000"})}
        elsewhere = [one for one in sources if "://" in one or (one.startswith("file_") and not Path(one).exists())]
        seen: set[str] = set()
        for source in sources:
            if source in elsewhere:
                continue
            for name, file in _files(Path(source)):
                seen.add(name)
                yield self._one(name, file, known.get(name, {}).get("sha256"))
        for at in range(0, len(elsewhere), _FETCHED_AT_ONCE):
            yield from self._fetched(elsewhere[at : at + _FETCHED_AT_ONCE])
        if prune:
            yield from self._pruned([one for name, one in known.items() if name not in seen and "://" not in name])

    def _one(self, name: str, file: Path, known_sha256: str | None) -> dict[str, Any]:
        try:
            data = _read(file)
            if hashlib.sha256(data).hexdigest() == known_sha256:
                return {"source": name, "outcome": "unchanged"}
            return {"source": name, **self._server.form(self._path, {"name": name}, ("file", file.name, data))}
        except (Refused, OSError) as error:
            return {"source": name, "outcome": "failed", "error": str(error)}

    def _fetched(self, sources: Sequence[str]) -> Iterator[dict[str, Any]]:
        urls = [one for one in sources if "://" in one]
        body = {"urls": urls, "file_ids": [one for one in sources if one not in urls]}
        for event in self._server.lines(f"{self._path}/fetch", body):
            if event["type"] == "document":
                yield {"source": event["source"], **event["document"]}
            elif event["type"] == "document_failed":
                yield {"source": event["source"], "outcome": "failed", "error": event["error"]["message"]}
            elif event["type"] == "progress":
                yield {**event, "outcome": "progress"}

    def _pruned(self, documents: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for one in documents:
            self._server.delete(f"{self._path}/{one['id']}")
            yield {"source": one["name"], "outcome": "deleted"}


def _files(source: Path) -> Iterator[tuple[str, Path]]:
    """A file under its name, or what is in a folder under its path there. No link is followed."""
    if not source.is_dir():
        yield source.name, source.resolve()
        return
    for folder, folders, names in os.walk(source, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder) / name
            if not name.startswith(".") and stat.S_ISREG(file.lstat().st_mode) and _is_document(file):
                yield file.relative_to(source).as_posix(), file


def _is_document(file: Path) -> bool:
    """Whether it looks like a document of a known kind; what a folder holds besides is no failure."""
    try:
        with file.open("rb") as opened:
            kind_of(file.name, "", opened.read(4096))
    except (Unreadable, OSError):
        return False
    return True


def _read(file: Path) -> bytes:
    """The bytes of a plain file: not of a link that came there meanwhile, nor of a pipe that would never end."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError(f"{file} is no plain file")
        return opened.read()
