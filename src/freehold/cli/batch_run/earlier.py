"""The results that a run has left: which rows are good in them, so that only the others are asked for again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from freehold.cli.batch_run.inputs import BadInput


def lines(out: Path) -> Iterator[str]:
    """Each line as it stands there."""
    try:
        with out.open(encoding="utf-8") as file:
            yield from file
    except OSError as error:
        raise BadInput(f"{out}: there are no results of an earlier run ({error.strerror})") from error


def good(out: Path) -> frozenset[int]:
    """The places of rows that have a good answer.

    Raises:
        BadInput: there are no results, or a line is none.
    """
    found = set()
    for index, line in enumerate(lines(out)):
        try:
            if json.loads(line)["ok"]:
                found.add(index)
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{out}, line {index + 1}: is no line of results") from error
    return frozenset(found)
