"""What a run has sent so far, in a file beside its results: with it, the run goes on where it was broken off."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from freehold.errors import FreeholdError


class CannotResume(FreeholdError):
    """There is nothing to go on with, or it was made of something else."""


@dataclass(slots=True)
class Notes:
    """Batches of the first round and of the second, which repeats what failed."""

    fingerprint: str
    first: list[str] = field(default_factory=list)
    first_sent: bool = False
    second: list[str] = field(default_factory=list)
    second_sent: bool = False

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(json.dumps(asdict(self)), "utf-8")
        os.replace(fresh, path)


def place(out: Path) -> Path:
    """Where the notes of a run with these results are."""
    return out.with_name(out.name + ".run")


def read(out: Path, fingerprint: str) -> Notes:
    """The notes of the run that was broken off. Raises `CannotResume`."""
    path = place(out)
    try:
        found = Notes(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise CannotResume(f"there is no {path}: nothing was begun. Leave --resume out.") from error
    except (OSError, ValueError, TypeError) as error:
        raise CannotResume(f"{path} cannot be read: {error}") from error
    if found.fingerprint != fingerprint:
        raise CannotResume(f"{path} is of a run with other rows or options. Use the same ones, or leave --resume out.")
    return found


def fingerprint(requests: Iterable[tuple[str, dict[str, Any]]]) -> str:
    """Of all requests of a run."""
    made = hashlib.sha256()
    for name, params in requests:
        made.update(json.dumps([name, params], sort_keys=True).encode())
    return made.hexdigest()
