"""`freehold alerts`: what is wrong on a running server, or was."""

from __future__ import annotations

from typing import Annotated

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table


def alerts(
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show open alerts: budgets reached, calls that fail or are slow, a prompt cache that is missed."""
    from freehold.cli.settings import server_of

    query = {"limit": "100"} if everything else {"limit": "100", "open": "true"}
    found = server_of(data, url, key_file).get("/freehold/v1/alerts", query)["data"]
    if as_json:
        print_json(found)
        return
    rows = [{**one, "figures": ", ".join(f"{name} {value}" for name, value in one["figures"].items())} for one in found]
    print_table(["kind", "figures", "opened_at", "ended_at", "id"], rows, "Nothing is wrong.")
