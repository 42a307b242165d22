"""`freehold keys`: who may use a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from freehold.cli.budgets import PATH as BUDGETS
from freehold.cli.budgets import LimitTokens, LimitUsd, Period, bodies
from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table, tell
from freehold.errors import FreeholdError

if TYPE_CHECKING:
    from freehold.cli.calling import Server

_PATH = "/freehold/v1/keys"


def commands() -> typer.Typer:
    """The group."""
    group = typer.Typer(help="The API keys of a running server.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_them)
    group.command("revoke")(revoke)
    return group


def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    workspace: Annotated[str | None, typer.Option(help="Id of its workspace; the default one if left out.")] = None,
    role: Annotated[
        Literal["admin", "member", "viewer"] | None,
        typer.Option(help="An admin may also make keys and workspaces; a viewer changes nothing. Member if left out."),
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option(help="Id of a self-hosted environment: the key is for its workers, and for them alone."),
    ] = None,
    limit_usd: LimitUsd = None,
    limit_tokens: LimitTokens = None,
    period: Annotated[Period, typer.Option(help="How long the limits are for.")] = "lifetime",
    timezone: Annotated[str, typer.Option(help="Whose midnight ends a day: an IANA name.")] = "UTC",
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Create a key. It is shown this once; the server keeps only its hash."""
    from freehold.cli.settings import server_of

    given = {"name": name, "role": role, "workspace_id": workspace, "environment_id": environment}
    body = {field: value for field, value in given.items() if value is not None}
    server = server_of(data, url, key_file)
    limited = limit_usd is not None or limit_tokens is not None
    if limited and environment is not None:
        raise typer.BadParameter("A worker's key spends nothing, so it takes no limits.")
    limits = bodies({"scope": "key"}, limit_usd, limit_tokens, period, timezone, "hard") if limited else []
    made = server.post(_PATH, body)
    made["budgets"] = _limit(server, made, limits)
    if as_json:
        print_json(made)
        return
    print(made["secret"])
    typer.echo(f"{made['id']} ({made['role']}). The key above is shown only now.", err=True)


def _limit(server: Server, made: dict[str, Any], limits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the key its limits before anybody has seen it; without them there is no key."""
    own = {"scope_id": made["id"], "workspace_id": made["workspace_id"]}
    try:
        return [server.post(BUDGETS, {**limit, **own}) for limit in limits]
    except FreeholdError:
        server.post(f"{_PATH}/{made['id']}/revoke", {})
        raise


def list_them(data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False) -> None:
    """List the keys, without their secrets."""
    from freehold.cli.settings import server_of

    entries = server_of(data, url, key_file).pages(_PATH)
    if as_json:
        print_json(entries)
        return
    columns = ["id", "name", "role", "workspace_id", "environment_id", "hint", "created_at", "revoked_at"]
    print_table(columns, entries, "There is no key.")


def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key, as `freehold keys list` shows it.")],
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Revoke a key: from now on it opens nothing."""
    from freehold.cli.settings import server_of

    done = server_of(data, url, key_file).post(f"{_PATH}/{key_id}/revoke", {})
    tell(f"{key_id} is revoked.", done, as_json)
