"""Where the files, skills and memory stores of a session are to be seen in its box. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from unicodedata import normalize

from freehold.environments.workdirs import UPLOADS, WORKSPACE, upload_path
from freehold.errors import InvalidRequest

__all__ = ["MEMORY", "SKILLS", "UPLOADS", "memory_paths", "mount_path", "refuse_clashes", "repository_path"]

SKILLS = f"{WORKSPACE}/skills"
MEMORY = "/mnt/memory"
_MOST_SLUG = 100


def mount_path(given: str) -> str:
    """The path as it is stored and shown: beneath the uploads. A relative one is taken to begin there.

    Raises:
        InvalidRequest: it leads elsewhere, or is no plain path.
    """
    path = given if given.startswith("/") else f"{UPLOADS}/{given}"
    upload_path(path)
    return path


def repository_path(given: str) -> str:
    """Where a repository is put: below the workspace. A relative path is taken to begin there.

    Raises:
        InvalidRequest: it leads elsewhere, is no plain path, or is where skills are.
    """
    path = given if given.startswith("/") else f"{WORKSPACE}/{given}"
    if not path.startswith(f"{WORKSPACE}/") or path == SKILLS or path.startswith(f"{SKILLS}/"):
        raise InvalidRequest(f"mount_path: {given[:200]!r} must lie below {WORKSPACE}, and not at {SKILLS}.")
    upload_path(f"{UPLOADS}/{path.removeprefix(f'{WORKSPACE}/')}")
    return path


def refuse_clashes(paths: Sequence[str]) -> None:
    """Two things cannot have one path, nor one lie beneath the other. Raises `InvalidRequest`."""
    ordered = sorted(paths, key=lambda path: path.split("/"))
    for before, path in pairwise(ordered):
        if path == before or path.startswith(f"{before}/"):
            raise InvalidRequest(f"mount_path: {path!r} clashes with {before!r}; each needs a path of its own.")


def memory_paths(names: Sequence[str]) -> list[str]:
    """Where the stores of these names are mounted, each at a path of its own: `User preferences` becomes
    `/mnt/memory/user-preferences`."""
    taken: list[str] = []
    for name in names:
        slug = _slug(name)
        path, number = slug, 1
        while path in taken:
            number += 1
            path = f"{slug}-{number}"
        taken.append(path)
    return [f"{MEMORY}/{path}" for path in taken]


def _slug(name: str) -> str:
    plain = normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_MOST_SLUG].strip("-") or "memory"
