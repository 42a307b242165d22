"""`freehold workspaces`: the tenants of a running server."""

from __future__ import annotations

from typing import Annotated

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table

_PATH = "/freehold/v1/workspaces"


def commands() -> typer.Typer:
    """The group."""
    group = typer.Typer(help="The tenants of a running server.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_them)
    return group


def create(
    name: Annotated[str, typer.Argument(help="A name that no other workspace has.")],
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Create a workspace: its sessions, files and keys are invisible to all others."""
    from freehold.cli.settings import server_of

    made = server_of(data, url, key_file).post(_PATH, {"name": name})
    if as_json:
        print_json(made)
        return
    print(f"{made['id']}\nA key for it: freehold keys create NAME --workspace {made['id']}")


def list_them(data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False) -> None:
    """List the workspaces."""
    from freehold.cli.settings import server_of

    entries = server_of(data, url, key_file).pages(_PATH)
    if as_json:
        print_json(entries)
        return
    print_table(["id", "name", "created_at"], entries, "There is no workspace.")
