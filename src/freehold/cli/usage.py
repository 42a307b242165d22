"""`freehold usage`: what was used and what it cost, by anything."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from freehold.cli.options import Data, KeyFile, Url, print_json, print_table

_PATH = "/freehold/v1/usage"
_SHOWN = ("calls", "failed_calls", "input_tokens", "cache_read_tokens", "output_tokens", "cost")


def usage(
    by: Annotated[
        str, typer.Option(help="day, key, model, workspace, session, user, task_type …; several with commas.")
    ] = "model",
    start: Annotated[str | None, typer.Option("--from", help="From this day or RFC 3339 time on (UTC).")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Until this day or time, not included.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with every column.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every column.")] = False,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Show usage and cost from the record of calls. Every sum is exact."""
    from freehold.cli.settings import server_of
    from freehold.money import show_dollars

    query = [("by[]", name.strip()) for name in by.split(",") if name.strip()]
    query += [(f"started_at[{name}]", _time(value)) for name, value in (("gte", start), ("lt", end)) if value]
    answer = server_of(data, url, key_file).get(_PATH, query)
    rows: list[dict[str, Any]] = answer["data"]
    if as_json:
        print_json(answer)
    elif as_csv:
        _print_csv(rows)
    else:
        groups = [name for name in (rows[0] if rows else {}) if name in {name for _, name in query}]
        total = {**answer["total"], **({groups[0]: "total"} if groups else {})}
        table = [{**row, "cost": show_dollars(row["cost_nanodollars"])} for row in [*rows, total]]
        print_table([*groups, *_SHOWN], table if rows else [], "There are no calls.")


def _time(text: str) -> str:
    return f"{text}T00:00:00Z" if len(text) == len("2026-11-23") else text


def _print_csv(rows: list[dict[str, Any]]) -> None:
    import csv
    import sys

    writer = csv.writer(sys.stdout, lineterminator="\n")
    if rows:
        writer.writerow(rows[0])
    for row in rows:
        writer.writerow([f"'{cell}" if _is_formula(cell) else cell for cell in row.values()])


def _is_formula(cell: object) -> bool:
    return isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r"))
