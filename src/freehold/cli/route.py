"""`freehold route`: which model answered a call that left the choice to the server, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table

_PATH = "/freehold/v1/routing/decisions"


def commands() -> typer.Typer:
    """The group."""
    group = typer.Typer(help="Which model answered calls for `auto`, and why.", no_args_is_help=True)
    group.command("list")(list_newest)
    group.command("explain")(explain)
    return group


def list_newest(data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False) -> None:
    """List the newest decisions."""
    from freehold.cli.settings import server_of

    rows = server_of(data, url, key_file).get(_PATH)["data"]
    if as_json:
        print_json(rows)
        return
    columns = ["call_id", "made_at", "asked", "tier", "model", "because"]
    print_table(columns, rows, "No call has left the choice of a model to this server yet.")


def explain(
    call_id: Annotated[str, typer.Argument(help="Id of the call (see `freehold route list`), or `last`.")] = "last",
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Explain one decision from its record."""
    from freehold.cli.settings import server_of

    server = server_of(data, url, key_file)
    if call_id == "last":
        rows = server.get(_PATH)["data"]
        if not rows:
            print("No call has left the choice of a model to this server yet.")
            return
        call_id = rows[0]["call_id"]
    found = server.get(f"{_PATH}/{call_id}")
    if as_json:
        print_json(found)
        return
    print(f"{found['call_id']}: {found['asked']} → {found['model'] or 'refused'}")
    for line in found["explanation"]:
        print(f"  {line}")
    print()
    print_table(
        ["tier", "model", "prompt_tokens", "cached_tokens", "expected", "most"],
        list(map(_shown, found["inputs"]["options"])),
        "",
    )


def _shown(option: dict[str, object]) -> dict[str, object]:
    from freehold.money import show_dollars

    prices = {name: show_dollars(value) for name in ("expected", "most") if isinstance(value := option[name], int)}
    return {**option, "expected": "unknown", "most": "unknown", **prices}
