"""Where the files of a session are to be seen in its box. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from freehold.environments.workdirs import UPLOADS, upload_path
from freehold.errors import InvalidRequest

__all__ = ["UPLOADS", "mount_path", "refuse_clashes"]


def mount_path(given: str) -> str:
    """The path as it is stored and shown: beneath the uploads. A relative one is taken to begin there.

    Raises:
        InvalidRequest: it leads elsewhere, or is no plain path.
    """
    path = given if given.startswith("/") else f"{UPLOADS}/{given}"
    upload_path(path)
    return path


def refuse_clashes(paths: Sequence[str]) -> None:
    """Two files cannot have one path, nor one lie beneath the other. Raises `InvalidRequest`."""
    ordered = sorted(paths, key=lambda path: path.split("/"))
    for before, path in pairwise(ordered):
        if path == before or path.startswith(f"{before}/"):
            raise InvalidRequest(f"mount_path: {path!r} clashes with {before!r}; files need paths of their own.")
