"""`freehold mcp`: what this server shows to MCP servers elsewhere."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table, tell

_PATH = "/freehold/v1/mcp_credentials"
Address = Annotated[str, typer.Argument(help="The MCP server's address, as agents name it.")]


def commands() -> typer.Typer:
    """The group."""
    group = typer.Typer(help="Credentials for MCP servers that agents use.", no_args_is_help=True)
    group.command("login")(login)
    group.command("list")(list_them)
    group.command("logout")(logout)
    return group


def login(
    address: Address,
    header: Annotated[str, typer.Option(help="The header that carries it.")] = "authorization",
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Keep a token for an MCP server, sealed. It is asked for, or read from standard input.

    For the header authorization, a token of one word is sent as a bearer token.
    """
    from freehold.cli.settings import server_of

    given = (typer.prompt("Token", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()).strip()
    value = f"Bearer {given}" if header.lower() == "authorization" and " " not in given else given
    made = server_of(data, url, key_file).post(_PATH, {"url": address, "headers": {header: value}})
    tell(f"{made['id']}: sessions of this workspace show it to {made['url']}.", made, as_json)


def list_them(data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False) -> None:
    """List the addresses that have a credential; never what it is."""
    from freehold.cli.settings import server_of

    entries = server_of(data, url, key_file).pages(_PATH)
    if as_json:
        print_json(entries)
        return
    print_table(["id", "url", "headers"], entries, "There is no credential for an MCP server.")


def logout(
    credential_id: Annotated[str, typer.Argument(help="Its id, as `freehold mcp list` shows it.")],
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Forget a credential."""
    from freehold.cli.settings import server_of

    done = server_of(data, url, key_file).delete(f"{_PATH}/{credential_id}")
    tell(f"{credential_id} is forgotten.", done, as_json)
