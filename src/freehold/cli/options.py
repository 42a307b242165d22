"""Options that several commands share, and the small ways in which all of them print."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Data = Annotated[
    Path | None, typer.Option("--data", envvar="FREEHOLD_DATA", show_envvar=False, help="Data folder of the server.")
]
Url = Annotated[str | None, typer.Option("--url", help="Address of the server, if not the one of the data folder.")]
KeyFile = Annotated[Path | None, typer.Option("--key-file", help="File with the key to use (else FREEHOLD_KEY).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: object) -> None:
    """JSON for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def tell(text: str, answer: object, as_json: bool) -> None:
    """A sentence for people, or what the server answered for programs."""
    if as_json:
        print_json(answer)
    else:
        print(text)


def print_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], empty: str) -> None:
    """A table for people; `columns` are keys of `rows`, `empty` is said when there are none."""
    if not rows:
        print(empty)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column == "id")
    for row in rows:
        table.add_row(*("" if row.get(column) is None else str(row[column]) for column in columns))
    # A pipe has no width: what reads it wants whole lines.
    Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False).print(table)
